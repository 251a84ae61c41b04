import { textBytes, unpack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import { PullIterator, PullStream } from '../addon/stream.js';
import { checkFunction, checkOptions, checkString } from '../check.js';

/** From the least to the most severe. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/** One line of the native side's log. */
export interface LogLine {
  readonly level: LogLevel;
  /** The Rust module that wrote it. */
  readonly target: string;
  readonly message: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Lines lost before this one because nobody read them. */
  readonly dropped: number;
}

/** Which lines come, and where they go. */
export interface LogOptions {
  /** In `$DYN_LOG`'s syntax, such as `warn,dynamo_llm=debug`. The last that is given is the whole process's. @default $DYN_LOG or 'warn' */
  readonly filter?: string;
  /** @default writes to `console.error` */
  readonly write?: (line: LogLine) => void;
}

/** A log that is being read. */
export interface OpenLog {
  /** Stops reading it. Idempotent. */
  close(): void;
}

/**
 * Sends the native side's log lines to JavaScript. Without it they are not written at all. Reading the log does not keep
 * the process alive. Each line goes to one of those who read the log, worker threads among them. Gives what ends it.
 */
export function openLog(options: LogOptions = {}): OpenLog {
  checkOptions('openLog options', options, ['filter', 'write']);
  const { filter = process.env['DYN_LOG'] ?? 'warn', write = toConsole } = options;
  checkString('openLog options.filter', filter);
  checkFunction('openLog options.write', write);
  const handle = invokeSync(native.logOpen, 'openLog', { payload: textBytes(filter) });
  const stream = new PullStream(handle, 'log', { background: true });
  const lines = new PullIterator(stream, ({ bytes }) => lineFrom(bytes));
  void forward(lines, write);
  return { close: () => stream.kill() };
}

function lineFrom(bytes: Uint8Array): LogLine {
  const line = unpack(bytes) as LogLine;
  return { ...line, level: line.level.toLowerCase() as LogLevel };
}

async function forward(lines: AsyncIterable<LogLine>, write: (line: LogLine) => void): Promise<void> {
  for await (const line of lines) write(line);
}

function toConsole({ level, target, message, time, dropped }: LogLine): void {
  const lost = dropped === 0 ? '' : ` (${dropped} lines lost)`;
  console.error(`${new Date(time).toISOString()} ${level.toUpperCase()} ${target}: ${message}${lost}`);
}
