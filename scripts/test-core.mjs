// Runs the unit tests of native/core. They use the dependencies of the last native build.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { main } from './setup/index.mjs';
import { root, run, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

const build = join(root, 'build/cmake');

await main(async () => {
  if (!existsSync(build))
    throw new SetUpError('the tests of native/core need a native build: run `npm run build:native`');
  await installRust();
  await run('cmake', ['--build', build, '--target', 'core_test']);
});
