import { setTimeout as sleep } from 'node:timers/promises';
import { DashboardFeed } from '../dashboard/feed.js';
import { type CommandArgs, type CommandIo, EXIT } from './command.js';
import { print, printJson } from './output.js';
import type { TopCommandOptions } from './top.js';
import { topLines } from './top-screen.js';
import { watchedGraph } from './watched-graph.js';

const MS_PER_SECOND = 1000;
/** Readings until rates are known. */
const READINGS_FOR_RATES = 2;
const DEFAULT_ROWS = 24;

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';

/** Reads single keys. Returns a function that ends it. */
function onKeys(io: CommandIo, pressed: (key: string) => void): () => void {
  const input = io.stdin as NodeJS.ReadStream;
  if (input.isTTY !== true) return () => {};
  const take = (bytes: Buffer): void => pressed(bytes.toString('utf8'));
  input.setRawMode(true);
  input.on('data', take).resume();
  return () => {
    input.setRawMode(false);
    input.off('data', take).pause();
  };
}

const rowsOf = ({ stdout }: CommandIo): number => (stdout as NodeJS.WriteStream).rows ?? DEFAULT_ROWS;

/** Shows the graph until a key, a signal or its end. */
export async function run(
  { positionals, options, json }: CommandArgs<TopCommandOptions>,
  io: CommandIo,
): Promise<number> {
  const { intervalSeconds = 1, once = !io.isTerminal } = options;
  const intervalMs = intervalSeconds * MS_PER_SECOND;
  const feed = await DashboardFeed.start({ ...watchedGraph(positionals[0], options, io), intervalMs });
  const ended = new AbortController();
  let exitCode: number = EXIT.ok;
  const end = (): void => ended.abort();
  const terminate = (): void => {
    exitCode = EXIT.terminated;
    end();
  };
  const forget = [io.onSignal('SIGINT', end), io.onSignal('SIGTERM', terminate)];
  const isLive = !once && !json;
  if (isLive) {
    forget.push(onKeys(io, (key) => (key === 'q' || key === '\u0003' ? end() : undefined)));
    io.stdout.write(`${HIDE_CURSOR}\x1b[2J`);
    forget.push(() => void io.stdout.write(SHOW_CURSOR));
  }
  try {
    for (let reading = 1; !ended.signal.aborted; reading++) {
      const snapshot = feed.next();
      const isDue = !once || reading > READINGS_FOR_RATES;
      if (isDue && json) printJson(io, snapshot);
      else if (isDue && isLive) {
        const lines = topLines(io, snapshot, rowsOf(io) - 1);
        io.stdout.write(`${HOME}${lines.map((line) => `${line}${CLEAR_LINE}\n`).join('')}${CLEAR_BELOW}`);
      } else if (isDue) for (const line of topLines(io, snapshot)) print(io, line);
      if ((once && isDue) || snapshot.graph.phase === 'gone') break;
      await sleep(intervalMs, undefined, { signal: ended.signal }).catch(() => {});
    }
  } finally {
    for (const restore of forget) restore();
    await feed.close();
  }
  return exitCode;
}
