import { setTimeout as sleep } from 'node:timers/promises';
import { isRunning } from '../deploy/local/process-id.js';
import type { CommandArgs, CommandIo } from './command.js';
import { print, printJson } from './output.js';
import { controlGraph, findRunning } from './running-graph.js';
import type { StopCommandOptions } from './stop.js';

const INTERVAL_MS = 50;
/** A supervisor that is asked to end at once, and does not answer for so long, is killed. Its workers end with it. */
const ANSWER_MS = 5000;

/** Ends a graph, and waits until its supervisor is gone. Workers that do not drain are killed after its grace time. */
export async function run(
  { positionals, options, json }: CommandArgs<StopCommandOptions>,
  io: CommandIo,
): Promise<void> {
  const running = findRunning(positionals[0], io);
  const { graph, supervisor } = running.state;
  if (options.now === true) {
    const signal = AbortSignal.timeout(ANSWER_MS);
    await controlGraph(running, { command: 'kill' }, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
      if (isRunning(supervisor)) process.kill(supervisor.pid, 'SIGKILL');
    });
  } else await controlGraph(running, { command: 'stop' });
  while (isRunning(supervisor)) await sleep(INTERVAL_MS);
  if (json) printJson(io, { graph, stopped: true });
  else print(io, `graph ${graph} has stopped`);
}
