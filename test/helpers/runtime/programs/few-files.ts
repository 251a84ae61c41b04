/**
 * few-files.ts FOLDER PATH [ENGINE]: a worker whose handler waits as long as a request says. Its endpoint `items`
 * returns each item of a request. With ENGINE it also serves an engine at that path, which has one answer. The commands
 * `open` and `close` open that many files, or close them. `fill` opens files until no descriptor is left.
 */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';

import { DistributedRuntime, serveEngine } from '../../../../lib/index.js';
import { openFileLimit } from '../../../../lib/runtime/open-files.js';
import { commands, emit } from './lines.js';

const [dir, path, enginePath] = process.argv.slice(2) as [string, string, string?];
const runtime = await DistributedRuntime.create({
  discovery: { kind: 'file', dir },
  host: '127.0.0.1',
  systemPort: 0,
});
runtime.setHealthy(true);
await runtime.endpoint<{ waitMs: number }, number>(path).serve(async ({ waitMs }) => {
  await after(waitMs);
  return waitMs;
});
await runtime.endpoint<number, number>('files.worker.items').serveBidirectional(async function* (items) {
  for await (const item of items) yield item;
});
if (enginePath !== undefined) {
  const answering = {
    start: () => ({ model: 'files' }),
    async *generate() {
      yield 'answered';
    },
  };
  await (await serveEngine(runtime.endpoint(enginePath), answering, { raw: true })).ready;
}
const used = readdirSync('/proc/self/fd').length;
emit('ready', { systemAddress: runtime.systemAddress, limit: openFileLimit(), used });

const opened: number[] = [];
function fill(): void {
  try {
    for (;;) opened.push(openSync('/dev/null', 'r'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EMFILE') throw error;
  }
}

for await (const command of commands<{ do: 'open' | 'close' | 'fill'; count: number }>()) {
  if (command.do === 'fill') fill();
  else if (command.do === 'open')
    for (let index = 0; index < command.count; index++) opened.push(openSync('/dev/null', 'r'));
  else for (const file of opened.splice(0, command.count)) closeSync(file);
  emit(command.do);
}
