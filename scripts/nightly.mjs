// The package native/core/miri, whose tests run with tools that only a nightly Rust has.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { root, run } from './setup/process.mjs';

const core = join(root, 'native/core');

export const toolchain = 'nightly';

/** Tests that start the runtime of the process. Its threads never end. */
export const startRuntime = ['::runs_the_future_of_an_op', '::completes_an_op_whose_future_panics', 'ours::stream::'];

/** The folder of the sources of dynamo-runtime, in the version of native/core. */
function dynamoRuntime() {
  const args = ['metadata', '--locked', '--format-version', '1', '--filter-platform', 'x86_64-unknown-linux-gnu'];
  const options = { cwd: core, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024, stdio: ['ignore', 'pipe', 'inherit'] };
  const { packages } = JSON.parse(execFileSync('cargo', args, options));
  return dirname(packages.find(({ name }) => name === 'dynamo-runtime').manifest_path);
}

/**
 * Runs cargo of the nightly toolchain in that package.
 *
 * @param folder where it builds, below build/
 */
export function nightlyCargo(args, folder, variables) {
  const env = {
    ...process.env,
    CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR ?? join(root, 'build', folder),
    DYNAMO_RUNTIME: dynamoRuntime(),
    RUST_BACKTRACE: '0',
    ...variables,
  };
  return run('cargo', [`+${toolchain}`, ...args], { cwd: join(core, 'miri'), env });
}
