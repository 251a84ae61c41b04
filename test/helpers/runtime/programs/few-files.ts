/**
 * few-files.ts FOLDER PATH: a worker whose handler waits as long as a request says. The commands `open` and `close`
 * open that many files, or close them.
 */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';

import { DistributedRuntime } from '../../../../lib/index.js';
import { openFileLimit } from '../../../../lib/runtime/open-files.js';
import { commands, emit } from './lines.js';

const [dir, path] = process.argv.slice(2) as [string, string];
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
const used = readdirSync('/proc/self/fd').length;
emit('ready', { systemAddress: runtime.systemAddress, limit: openFileLimit(), used });

const opened: number[] = [];
for await (const command of commands<{ do: 'open' | 'close'; count: number }>()) {
  if (command.do === 'open')
    for (let index = 0; index < command.count; index++) opened.push(openSync('/dev/null', 'r'));
  else for (const file of opened.splice(0, command.count)) closeSync(file);
  emit(command.do);
}
