import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { main, setUp } from './setup/index.mjs';
import { root, SetUpError } from './setup/process.mjs';

const [name, ...args] = process.argv.slice(2);
const folder = join(root, 'examples');

/** What runs an example: its program, else `dynamo serve` with its graph. */
function commandOf(example) {
  const [program, graph] = ['main.ts', 'graph.ts'].map((file) => join(folder, example, file));
  if (existsSync(program)) return [program];
  return existsSync(graph) ? [join(root, 'dist/cli/main.js'), 'serve', graph] : undefined;
}

await main(async () => {
  const command = name && commandOf(name);
  if (!command) {
    const names = existsSync(folder) ? readdirSync(folder).filter(commandOf) : [];
    throw new SetUpError(`Usage: npm run example -- NAME, where NAME is one of: ${names.join(', ')}`);
  }
  await setUp();
  process.argv.splice(1, process.argv.length, ...command, ...args);
  // The example runs in this process, so that a signal reaches it directly. Processes that it forks inherit the loader.
  const loader = import.meta.resolve('tsx');
  process.execArgv.push('--import', loader);
  await import(loader);
  await import(pathToFileURL(command[0]).href);
});
