import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRoot, outputOf, root, run, SetUpError, which } from './process.mjs';
import { aptInstall } from './system.mjs';

const core = join(root, 'native/core');
const host = 'x86_64-unknown-linux-gnu';

const pinned = () => /^channel = "(.+)"$/m.exec(readFileSync(join(core, 'rust-toolchain.toml'), 'utf8'))[1];

const isPinned = (rustc, options) => outputOf(rustc, ['--version'], options)?.startsWith(`rustc ${pinned()} `) ?? false;

/** An installed toolchain of the pinned version under another name, such as `stable`. */
function sameUnderAnotherName() {
  const toolchains = join(process.env.RUSTUP_HOME ?? join(homedir(), '.rustup'), 'toolchains');
  if (!existsSync(toolchains)) return undefined;
  return readdirSync(toolchains).find((name) => isPinned(join(toolchains, name, 'bin/rustc')));
}

/** What the environment of cargo must hold to run the pinned toolchain; undefined when it is not installed. */
function pinnedEnvironment() {
  if (which('cargo') && isPinned('rustc', { cwd: core })) return {};
  const name = which('rustup') && sameUnderAnotherName();
  return name ? { RUSTUP_TOOLCHAIN: name } : undefined;
}

export async function installRust() {
  const found = pinnedEnvironment();
  if (found) return Object.assign(process.env, found);

  if (!which('rustup')) await installRustup();
  console.log(`set-up: installing Rust ${pinned()}`);
  await run('rustup', ['toolchain', 'install', pinned(), '--profile', 'minimal', '--no-self-update']);

  const installed = pinnedEnvironment();
  if (!installed) throw new SetUpError(`Rust ${pinned()} is not usable after its installation: try \`rustc --version\` in native/core.`);
  return Object.assign(process.env, installed);
}

async function installRustup() {
  console.log('set-up: installing rustup');
  if (isRoot && outputOf('apt-cache', ['policy', 'rustup'])?.match(/Candidate: \d/)) return aptInstall(['rustup']);

  const base = `${process.env.RUSTUP_UPDATE_ROOT ?? 'https://static.rust-lang.org/rustup'}/dist/${host}/rustup-init`;
  const [installer, sum] = await Promise.all([download(base), download(`${base}.sha256`)]);
  if (createHash('sha256').update(installer).digest('hex') !== sum.toString().slice(0, 64)) {
    throw new SetUpError('The downloaded rustup installer does not match its checksum.');
  }
  const folder = mkdtempSync(join(tmpdir(), 'rustup-'));
  try {
    writeFileSync(join(folder, 'rustup-init'), installer, { mode: 0o755 });
    await run(join(folder, 'rustup-init'), ['-y', '-q', '--no-modify-path', '--default-toolchain', 'none']);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function download(url) {
  const response = await fetch(url).catch(() => undefined);
  if (!response?.ok) throw new SetUpError('rustup could not be downloaded: install it as its own documentation says, then try again.');
  return Buffer.from(await response.arrayBuffer());
}
