import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { aptInstall } from './apt.mjs';
import { pinnedInstall } from './pip.mjs';
import { isRoot, outputOf, ownRust, root, run, SetUpError, useOwnRust, which } from './process.mjs';

const core = join(root, 'native/core');

const pinned = () => /^channel = "(.+)"$/m.exec(readFileSync(join(core, 'rust-toolchain.toml'), 'utf8'))[1];

const isPinned = (rustc, options) => outputOf(rustc, ['--version'], options)?.startsWith(`rustc ${pinned()} `) ?? false;

/** An installed toolchain of the pinned version under another name, such as `stable`. */
function sameUnderAnotherName() {
  const toolchains = join(process.env.RUSTUP_HOME ?? join(homedir(), '.rustup'), 'toolchains');
  if (!existsSync(toolchains)) return undefined;
  return readdirSync(toolchains).find((name) => isPinned(join(toolchains, name, 'bin/rustc')));
}

/** Variables that make cargo run the pinned toolchain, or undefined if it is not installed. */
function pinnedEnvironment() {
  if (which('cargo') && isPinned('rustc', { cwd: core })) return {};
  const name = which('rustup') && sameUnderAnotherName();
  return name ? { RUSTUP_TOOLCHAIN: name } : undefined;
}

const rustup = { name: 'rustup', why: 'installs Rust; without this package rustup comes from the Python index' };

/** The Debian packages that `installRust` may install. */
export const rustPackages = () => (which('rustup') || pinnedEnvironment() ? [] : [rustup]);

export async function installRust() {
  const found = pinnedEnvironment();
  if (found) return Object.assign(process.env, found);

  if (!which('rustup')) await installRustup();
  console.log(`set-up: installing Rust ${pinned()}`);
  await run('rustup', ['toolchain', 'install', pinned(), '--profile', 'minimal', '--no-self-update']);

  const installed = pinnedEnvironment();
  if (!installed)
    throw new SetUpError(
      `Rust ${pinned()} is not usable after its installation: try \`rustc --version\` in native/core.`,
    );
  return Object.assign(process.env, installed);
}

/** Python's HTTP clients have their own list of certificate authorities. The system's also has those of the network. */
function systemCertificates() {
  const file = '/etc/ssl/certs/ca-certificates.crt';
  return existsSync(file) ? { SSL_CERT_FILE: file } : {};
}

/**
 * Debian 13 and Ubuntu 24.04 have rustup as a package. On other systems a package of the Python index installs it into
 * a folder that later runs find again (see `ownRust`).
 */
async function installRustup() {
  console.log('set-up: installing rustup');
  if (isRoot && outputOf('apt-cache', ['policy', 'rustup'])?.match(/Candidate: \d/)) return aptInstall([rustup]);

  const venv = mkdtempSync(join(tmpdir(), 'rustup-'));
  const python = join(venv, 'bin/python');
  try {
    await run('python3', ['-m', 'venv', venv]);
    await run(python, pinnedInstall('scripts/rustup.txt'));
    await run(python, ['-m', 'puccinialin', '--location', ownRust.folder, '--info-json', join(venv, 'info.json')], {
      env: { ...systemCertificates(), ...process.env },
    });
  } catch (cause) {
    throw new SetUpError(`${cause.message}\nInstall rustup as described in its documentation, then try again.`);
  } finally {
    rmSync(venv, { recursive: true });
  }
  useOwnRust();
  await run('rustup', ['--quiet', 'toolchain', 'uninstall', 'stable']);
}
