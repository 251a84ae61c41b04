import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { CliError, type CommandIo, EXIT, usageError } from './command.js';
import { cliFailureOf } from './failure.js';
import { inputFile } from './input-file.js';
import { clipped, note, print, printJson } from './output.js';
import { rate } from './run-chat.js';
import { ask, type ChatTarget } from './run-client.js';

const OUTPUT = 'output.jsonl';
const BAR_CHARACTERS = 20;

/** One line of the output. */
interface BatchLine {
  readonly text: string;
  readonly response: string;
  readonly tokens_in: number;
  readonly tokens_out: number;
  readonly elapsed_ms: number;
  /** The reason, if the request failed. */
  readonly error?: string;
}

/** The result of a whole file. Times are in milliseconds. */
export interface BatchStatistics {
  /** The path of the output. */
  readonly output: string;
  readonly requests: number;
  readonly failed: number;
  readonly tokens_in: number;
  readonly tokens_out: number;
  readonly elapsed_ms: number;
  readonly tokens_per_second: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
}

/** How a batch is run. */
interface BatchOptions {
  readonly concurrency: number;
  readonly json: boolean;
}

/** The prompts of a file. Empty lines do not count. */
async function* promptsOf(file: string): AsyncGenerator<string> {
  let number = 0;
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    number += 1;
    if (line.trim() === '') continue;
    let text: unknown;
    try {
      text = (JSON.parse(line) as { text?: unknown } | null)?.text;
    } catch {
      // Not JSON: reported below.
    }
    if (typeof text !== 'string')
      throw new CliError('E_BATCH_LINE', `${file}:${number}: expected {"text": "…"}, got ${clipped(line, 60)}`, {
        exitCode: EXIT.data,
        path: `${file}:${number}`,
      });
    yield text;
  }
}

/** Checks the file of a batch, and returns its path and its number of prompts. */
export async function checkBatch(name: string, cwd: string): Promise<{ file: string; total: number }> {
  const { path: file } = inputFile(name, cwd, 'E_NO_INPUT');
  if (file === join(dirname(file), OUTPUT))
    throw usageError(`in=batch:${name}: the answers are written to ${OUTPUT} of the same folder`, 'rename the input');
  let total = 0;
  for await (const _ of promptsOf(file)) total += 1;
  return { file, total };
}

/**
 * Answers each line of a file, and writes `output.jsonl` into its folder, in the order of the input. Returns 1 if a
 * request failed.
 */
export async function batch(
  target: ChatTarget,
  { file, total }: { readonly file: string; readonly total: number },
  io: CommandIo,
  { concurrency, json }: BatchOptions,
): Promise<number> {
  const path = join(dirname(file), OUTPUT);
  const output = createWriteStream(path);
  const opened = once(output, 'open');
  // A full disk, at any time.
  const lost = new Promise<never>((_, reject) => output.once('error', reject));
  lost.catch(() => {});
  const stop = new AbortController();
  let interrupted: number | undefined;
  const end = (code: number) => (): void => {
    interrupted ??= code;
    stop.abort();
  };
  const remove = [io.onSignal('SIGINT', end(EXIT.interrupted)), io.onSignal('SIGTERM', end(EXIT.terminated))];
  const progress = new Progress(io, total, json);
  const start = performance.now();
  try {
    await opened;
    const prompts = promptsOf(file);
    // Answers wait here for those of earlier lines.
    const waiting = new Map<number, BatchLine>();
    let [taken, written] = [0, 0];
    const flush = async (): Promise<void> => {
      for (let line = waiting.get(written); line !== undefined; line = waiting.get(written)) {
        waiting.delete(written++);
        if (!output.write(`${JSON.stringify(line)}\n`)) await once(output, 'drain');
      }
    };
    const worker = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        const next = await prompts.next();
        if (next.done === true) return;
        const index = taken++;
        const line = await lineOf(target, next.value, stop.signal);
        if (line === undefined) return;
        progress.add(line);
        waiting.set(index, line);
        await flush();
      }
    };
    const workers = Array.from({ length: Math.min(concurrency, Math.max(1, total)) }, worker);
    await Promise.race([Promise.all(workers), lost]);
  } finally {
    stop.abort();
    for (const each of remove) each();
    progress.end();
    output.end();
  }
  await Promise.race([once(output, 'close'), lost]);
  const statistics = progress.statistics(path, performance.now() - start);
  report(statistics, io, json);
  return interrupted ?? (statistics.failed > 0 ? EXIT.failure : EXIT.ok);
}

/** The line of one prompt, or undefined if the batch was stopped before its end. */
async function lineOf(target: ChatTarget, text: string, signal: AbortSignal): Promise<BatchLine | undefined> {
  const start = performance.now();
  try {
    const answer = await ask(target, [{ role: 'user', content: text }], { signal });
    if (answer.isStopped) return undefined;
    const { tokensIn, tokensOut, elapsedMs } = answer;
    return {
      text,
      response: answer.text,
      tokens_in: tokensIn,
      tokens_out: tokensOut,
      elapsed_ms: Math.round(elapsedMs),
    };
  } catch (error) {
    const elapsed_ms = Math.round(performance.now() - start);
    return { text, response: '', tokens_in: 0, tokens_out: 0, elapsed_ms, error: cliFailureOf(error).message };
  }
}

/** Counts lines, and shows how many are done on a terminal. */
class Progress {
  readonly #times: number[] = [];
  readonly #start = performance.now();
  #failed = 0;
  #tokensIn = 0;
  #tokensOut = 0;

  constructor(
    readonly io: CommandIo,
    readonly total: number,
    json: boolean,
    private readonly isShown = io.isTerminal && !json,
  ) {}

  add(line: BatchLine): void {
    this.#times.push(line.elapsed_ms);
    if (line.error !== undefined) this.#failed += 1;
    this.#tokensIn += line.tokens_in;
    this.#tokensOut += line.tokens_out;
    if (!this.isShown) return;
    const done = this.#times.length;
    const filled = Math.round((done / this.total) * BAR_CHARACTERS);
    const bar = `${'#'.repeat(filled)}${'.'.repeat(BAR_CHARACTERS - filled)}`;
    const elapsed = performance.now() - this.#start;
    const text = `[${bar}] ${done}/${this.total}  ${rate(this.#tokensOut, elapsed)} tokens/s`;
    this.io.stderr.write(`\r\x1b[K${clipped(text, this.io.columns - 1)}`);
  }

  end(): void {
    if (this.isShown && this.#times.length > 0) this.io.stderr.write('\r\x1b[K');
  }

  statistics(output: string, elapsedMs: number): BatchStatistics {
    const sorted = this.#times.sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return {
      output,
      requests: sorted.length,
      failed: this.#failed,
      tokens_in: this.#tokensIn,
      tokens_out: this.#tokensOut,
      elapsed_ms: Math.round(elapsedMs),
      tokens_per_second: Number(rate(this.#tokensOut, elapsedMs)),
      p50_ms: at(0.5),
      p99_ms: at(0.99),
    };
  }
}

function report(statistics: BatchStatistics, io: CommandIo, json: boolean): void {
  if (json) return printJson(io, statistics);
  const { output, requests, failed, tokens_in, tokens_out, elapsed_ms, tokens_per_second, p50_ms, p99_ms } = statistics;
  print(io, `${requests} requests in ${(elapsed_ms / 1000).toFixed(2)} s, ${failed} failed`);
  print(io, `${tokens_in} tokens in, ${tokens_out} tokens out, ${tokens_per_second} tokens/s`);
  print(io, `request time: p50 ${p50_ms} ms, p99 ${p99_ms} ms`);
  print(io, `wrote ${output}`);
  if (failed > 0) note(io, `${failed} lines have a field "error"`);
}
