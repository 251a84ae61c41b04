// npm run test:races [-- FILTER...]: runs unit tests of native/core under ThreadSanitizer, with a standard library that
// is compiled for it. native/core/miri/lib.rs has the list of the modules.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nightlyCargo, toolchain } from './nightly.mjs';
import { main } from './setup/index.mjs';
import { outputOf, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

const target = 'x86_64-unknown-linux-gnu';

await main(async () => {
  await installRust();
  const sysroot = outputOf('rustc', [`+${toolchain}`, '--print', 'sysroot']);
  if (!sysroot || !existsSync(join(sysroot, 'lib/rustlib/src/rust/library')))
    throw new SetUpError(
      `The library sources are missing: run \`rustup component add rust-src --toolchain ${toolchain}\`.`,
    );
  const filters = process.argv.slice(2);
  const tests = filters.length > 0 ? filters : ['ours::'];
  await nightlyCargo(['test', '--locked', '--lib', '-Zbuild-std', '--target', target, '--', ...tests], 'races', {
    RUSTFLAGS: '-Zsanitizer=thread',
    TSAN_OPTIONS: 'halt_on_error=0:exitcode=66',
  });
});
