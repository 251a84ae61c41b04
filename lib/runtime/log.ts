import { guarded } from '../addon/callback.js';
import { textBytes, unpack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import { NativeStream, StreamIterator } from '../addon/stream.js';
import { callback, type OptionTable, optionTable, text } from '../options.js';

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
  /** The number of lines lost before this one because no reader took them. */
  readonly dropped: number;
}

/** Which lines are read, and where they go. */
export interface LogOptions {
  /**
   * In the syntax of `$DYN_LOG`, such as `warn,dynamo_llm=debug`. The latest filter applies to the whole process.
   * @default $DYN_LOG or 'warn'
   */
  readonly filter?: string;
  /**
   * Receives each line. Its first error is reported as a warning `DYN_CALLBACK_FAILED` of the process. The reading
   * continues. @default writes to `console.error`
   */
  readonly write?: (line: LogLine) => void;
}

const LOG_OPTIONS: OptionTable<LogOptions> = optionTable<LogOptions>({
  filter: text.env('DYN_LOG').about('The lines that are read, such as `warn,dynamo_llm=debug`.'),
  write: callback<(line: LogLine) => void>().about('Receives each line.'),
});

/** A log that is being read. */
export interface RunningLog {
  /** Stops the reading. Idempotent. */
  close(): void;
}

/**
 * Sends the native side's log lines to JavaScript. Without it they are not written at all. Reading the log does not
 * keep the process alive. If several readers exist, in worker threads too, each line goes to one of them.
 */
export function startLog(options: LogOptions = {}): RunningLog {
  LOG_OPTIONS.check('startLog options', options);
  const { filter = process.env['DYN_LOG'] ?? 'warn', write = toConsole } = options;
  const handle = invokeSync(native.logOpen, 'startLog', { payload: textBytes(filter) });
  const stream = new NativeStream(handle, 'log', { background: true });
  const lines = new StreamIterator(stream, ({ bytes }) => lineFrom(bytes));
  void forward(lines, guarded('startLog write', write));
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
