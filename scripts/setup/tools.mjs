import { join } from 'node:path';
import { outputOf, root, run, which } from './process.mjs';

/** The LLVM version of clang-format and clang-tidy. Other versions format differently. */
const llvm = '14';

/** The command of a tool in that version, or undefined if it is not installed. */
export function clangTool(name) {
  const versioned = `${name}-${llvm}`;
  if (which(versioned)) return versioned;
  const version = which(name) && outputOf(name, ['--version']);
  return version && new RegExp(`version ${llvm}\\.`).test(version) ? name : undefined;
}

const core = { cwd: join(root, 'native/core') };

/** Components of the pinned Rust toolchain that only `npm run lint` needs, each with a command that finds it. */
const components = {
  rustfmt: () => outputOf('cargo', ['fmt', '--version'], core),
  clippy: () => outputOf('cargo', ['clippy', '--version'], core),
};

export const hasComponent = (name) => components[name]() !== undefined;

/** Debian packages that only `npm run lint` needs. Their names pin the version. */
export const lintPackages = ['clang-format', 'clang-tidy'].map((name) => ({
  name: `${name}-${llvm}`,
  present: () => clangTool(name),
  why: 'is only for npm run lint',
}));

/** Installs those components. If that fails, the set-up continues and `npm run lint` reports what is missing. */
export async function installComponents() {
  const missing = Object.keys(components).filter((name) => !hasComponent(name));
  if (missing.length === 0) return;
  console.log(`set-up: installing ${missing.join(' ')}`);
  try {
    await run('rustup', ['component', 'add', ...missing], core);
  } catch (error) {
    console.log(`set-up: ${missing.join(' and ')} could not be installed: npm run lint needs them (${error.message})`);
  }
}
