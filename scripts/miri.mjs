// npm run test:miri [-- FILTER...]: runs unit tests of native/core in Miri, which interprets them and reports undefined
// behaviour, data races and leaks. native/core/miri/lib.rs has the list of the modules.
import { nightlyCargo, startRuntime, toolchain } from './nightly.mjs';
import { main } from './setup/index.mjs';
import { outputOf, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

await main(async () => {
  await installRust();
  if (!outputOf('cargo', [`+${toolchain}`, 'miri', '--version']))
    throw new SetUpError(
      `Miri is missing: run \`rustup toolchain install ${toolchain} --profile minimal --component miri,rust-src\`.`,
    );
  // parking_lot makes pointers of integers. Tests use files and the environment. Each backtrace takes a minute.
  const flags = `-Zmiri-permissive-provenance -Zmiri-disable-isolation ${process.env.MIRIFLAGS ?? ''}`;
  const test = (tests, MIRIFLAGS) =>
    nightlyCargo(['miri', 'test', '--locked', '--lib', '--', ...tests], 'miri', { MIRIFLAGS });
  const ignoringLeaks = `${flags} -Zmiri-ignore-leaks`;
  const filters = process.argv.slice(2);
  if (filters.length > 0) return test(filters, ignoringLeaks);
  await test(['ours::', ...startRuntime.flatMap((name) => ['--skip', name])], flags);
  await test(startRuntime, ignoringLeaks);
});
