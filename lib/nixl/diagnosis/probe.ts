import { NixlError } from '../../errors.js';
import { ChildProcess, programBeside } from '../../runtime/child-process.js';

/** The output of a probe: its answer, and the other text that it printed, such as UCX's reports. */
export interface ProbeOutput<T> {
  readonly answer: T;
  readonly text: string;
}

/** How a probe runs. */
export interface ProbeOptions {
  readonly env?: Record<string, string>;
  readonly timeoutMs: number;
  /** Ends the probe, and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const ANSWER = '{"answer":';

const isAnswer = (line: string): boolean => line.startsWith(ANSWER);

/** @internal Prints the answer of a probe. */
export function answer(value: unknown): void {
  process.stdout.write(`\n${JSON.stringify({ answer: value })}\n`);
}

/** @internal The question that a probe must answer. */
export async function question<T>(): Promise<T> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return JSON.parse(Buffer.concat(parts).toString()) as T;
}

/**
 * @internal Runs a program of this folder in a separate process. The libraries that it loads, and its settings of UCX,
 * do not affect this process.
 */
export async function probe<T>(
  operation: string,
  program: string,
  request: unknown,
  { env = {}, timeoutMs, signal }: ProbeOptions,
): Promise<ProbeOutput<T>> {
  signal?.throwIfAborted();
  const lines: string[] = [];
  const child = ChildProcess.start(programBeside(import.meta.url, program), {
    env,
    input: JSON.stringify(request),
    timeoutMs,
    signal,
    onLine: (line) => lines.push(line),
  });
  const end = await child.ended;
  signal?.throwIfAborted();
  const found = lines.find(isAnswer);
  if (found !== undefined) {
    const { answer } = JSON.parse(found) as { answer: T };
    return { answer, text: lines.filter((line) => !isAnswer(line)).join('\n') };
  }
  const reason = end.timedOut ? `it took longer than ${timeoutMs} ms` : `it ended with ${end.signal ?? end.code}`;
  throw new NixlError(
    'Unavailable',
    `${operation}: the probe returned no answer, ${reason}: ${end.errorText.slice(-500)}`,
    { reason: 'nixl.probe', operation },
  );
}
