import { setTimeout as sleep } from 'node:timers/promises';
import { LogReader } from '../deploy/local/log-reader.js';
import { isRunning } from '../deploy/local/process-id.js';
import { CliError, type CommandArgs, type CommandIo, EXIT } from './command.js';
import type { LogsCommandOptions } from './logs.js';
import { print, printJson, styled } from './output.js';
import { type FoundGraph, findRunning, stateOf } from './running-graph.js';

const INTERVAL_MS = 200;

/** Shows the lines of the workers in the order of their times, and with `follow` those that come later. */
export async function run(
  { positionals, options, json }: CommandArgs<LogsCommandOptions>,
  io: CommandIo,
): Promise<void> {
  const running = findRunning(options.graph, io);
  const readers = new Map<string, LogReader>();
  const write = (time: string, worker: string, text: string): void => {
    if (json) printJson(io, { time, worker, text });
    else print(io, `${styled(io, 'cyan', `[${worker}]`)} ${text}`);
  };
  let lines = await newLines(running, positionals[0], readers);
  if (readers.size === 0)
    throw new CliError('E_UNKNOWN_SERVICE', `graph ${running.state.graph} has no worker '${positionals[0]}'`, {
      exitCode: EXIT.data,
    });
  if (options.tail !== undefined) lines = lines.slice(Math.max(0, lines.length - options.tail));
  for (;;) {
    for (const [time, worker, text] of lines) write(time, worker, text);
    if (options.follow !== true || !isRunning(running.state.supervisor)) return;
    await sleep(INTERVAL_MS);
    lines = await newLines(running, positionals[0], readers);
  }
}

type Line = readonly [time: string, worker: string, text: string];

/** The lines since the last call, of the workers that are wanted now: `dynamo scale` may have added some. */
async function newLines(
  running: FoundGraph,
  wanted: string | undefined,
  readers: Map<string, LogReader>,
): Promise<Line[]> {
  const { services } = await stateOf(running);
  for (const { name, workers } of services)
    for (const { number, log } of workers) {
      const worker = `${name}#${number}`;
      if (wanted === undefined || wanted === name || wanted === worker)
        readers.set(worker, readers.get(worker) ?? new LogReader(log));
    }
  const lines = [...readers].flatMap(([worker, reader]) =>
    reader.read().map(([time, text]): Line => [time, worker, text]),
  );
  return lines.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
