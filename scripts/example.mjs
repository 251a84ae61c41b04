import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { main, setUp } from './setup/index.mjs';
import { root, SetUpError } from './setup/process.mjs';

const [name, ...args] = process.argv.slice(2);
const folder = join(root, 'examples');
const entry = (example) => join(folder, example, 'main.ts');

await main(async () => {
  if (!name || !existsSync(entry(name))) {
    const names = existsSync(folder) ? readdirSync(folder).filter((example) => existsSync(entry(example))) : [];
    throw new SetUpError(`Usage: npm run example -- NAME, where NAME is one of: ${names.join(', ')}`);
  }
  await setUp();
  process.argv.splice(1, process.argv.length, entry(name), ...args);
  // The example runs in this process, so that a signal reaches it directly. Processes that it forks inherit the loader.
  const loader = import.meta.resolve('tsx');
  process.execArgv.push('--import', loader);
  await import(loader);
  await import(pathToFileURL(entry(name)).href);
});
