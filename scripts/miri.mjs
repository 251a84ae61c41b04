// npm run test:miri [-- FILTER...]: runs unit tests of native/core in Miri, which interprets them and reports undefined
// behaviour, data races and leaks. native/core/miri/lib.rs has the list of the modules.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { main } from './setup/index.mjs';
import { outputOf, root, run, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

const core = join(root, 'native/core');
const toolchain = 'nightly';

/** Tests that start the runtime of the process. Its threads never end, which Miri takes for a leak. */
const startRuntime = ['::runs_the_future_of_an_op', '::completes_an_op_whose_future_panics', 'ours::stream::'];

/** The folder of the sources of dynamo-runtime, in the version of native/core. */
function dynamoRuntime() {
  const args = ['metadata', '--locked', '--format-version', '1', '--filter-platform', 'x86_64-unknown-linux-gnu'];
  const options = { cwd: core, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024, stdio: ['ignore', 'pipe', 'inherit'] };
  const { packages } = JSON.parse(execFileSync('cargo', args, options));
  return dirname(packages.find(({ name }) => name === 'dynamo-runtime').manifest_path);
}

await main(async () => {
  await installRust();
  if (!outputOf('cargo', [`+${toolchain}`, 'miri', '--version']))
    throw new SetUpError(
      `Miri is missing: run \`rustup toolchain install ${toolchain} --profile minimal --component miri,rust-src\`.`,
    );
  // parking_lot makes pointers of integers. Tests use files and the environment. Each backtrace takes a minute.
  const flags = `-Zmiri-permissive-provenance -Zmiri-disable-isolation ${process.env.MIRIFLAGS ?? ''}`;
  const variables = {
    ...process.env,
    CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR ?? join(root, 'build/miri'),
    DYNAMO_RUNTIME: dynamoRuntime(),
    RUST_BACKTRACE: '0',
  };
  const test = (tests, MIRIFLAGS) =>
    run('cargo', [`+${toolchain}`, 'miri', 'test', '--locked', '--lib', '--', ...tests], {
      cwd: join(core, 'miri'),
      env: { ...variables, MIRIFLAGS },
    });
  const ignoringLeaks = `${flags} -Zmiri-ignore-leaks`;
  const filters = process.argv.slice(2);
  if (filters.length > 0) return test(filters, ignoringLeaks);
  await test(['ours::', ...startRuntime.flatMap((name) => ['--skip', name])], flags);
  await test(startRuntime, ignoringLeaks);
});
