// npm run coverage [-- --lib]: runs the tests and prints how many lines they run, by area; with --lib of lib/ alone.
// DYNAMO_TEST_FOLDERS chooses the tests, as it does for vitest.
import { buildAddon, runTests } from './coverage/build.mjs';
import { checkTools, cppLines, rustLines, typescriptLines } from './coverage/read.mjs';
import { leastCovered, tableOf } from './coverage/table.mjs';
import { main } from './setup/index.mjs';
import { installRust } from './setup/rust.mjs';

await main(async () => {
  const native = !process.argv.includes('--lib');
  if (native) {
    await installRust();
    checkTools();
    await buildAddon();
  }
  await runTests({ native });
  const files = new Map([...typescriptLines(), ...(native ? [...cppLines(), ...(await rustLines())] : [])]);
  console.log(tableOf(files));
  console.log(`\nThe least covered files:\n${leastCovered(files)}`);
});
