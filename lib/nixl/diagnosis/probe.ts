import { type ChildProcess, spawn } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

import { NixlError } from '../../errors.js';

/** What a probe printed: its answer, and all else, which is UCX's. */
export interface ProbeOutput<T> {
  readonly answer: T;
  readonly text: string;
}

/** How a probe runs. */
export interface ProbeOptions {
  readonly env?: Record<string, string>;
  readonly timeoutMs: number;
  /** Ends the probe, and rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const ANSWER = '{"answer":';

const MARKED = (line: string): boolean => line.startsWith(ANSWER);

/** @internal Prints the answer of a probe. */
export function answer(value: unknown): void {
  process.stdout.write(`\n${JSON.stringify({ answer: value })}\n`);
}

/** @internal What a probe was asked. */
export async function question<T>(): Promise<T> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return JSON.parse(Buffer.concat(parts).toString()) as T;
}

/**
 * @internal Runs a program of this folder in a process of its own: what it loads, and how UCX is set up for it, stays there.
 */
export function probe<T>(
  operation: string,
  program: string,
  asked: unknown,
  options: ProbeOptions,
): Promise<ProbeOutput<T>> {
  const suffix = extname(fileURLToPath(import.meta.url));
  const script = fileURLToPath(new URL(`./${program}${suffix}`, import.meta.url));
  const loader = suffix === '.ts' ? ['--import', 'tsx'] : [];
  const { signal } = options;
  if (signal?.aborted === true) return Promise.reject(signal.reason);
  const child: ChildProcess = spawn(process.execPath, [...loader, script], {
    env: { ...process.env, ...options.env },
    stdio: 'pipe',
  });
  return new Promise((resolve, reject) => {
    const parts: string[] = [];
    const errors: string[] = [];
    const kill = (): boolean => child.kill('SIGKILL');
    const timer = setTimeout(kill, options.timeoutMs);
    signal?.addEventListener('abort', kill, { once: true });
    child.stdout?.setEncoding('utf8').on('data', (part: string) => parts.push(part));
    child.stderr?.setEncoding('utf8').on('data', (part: string) => errors.push(part));
    child.stdin?.on('error', () => {});
    child.stdin?.end(JSON.stringify(asked));
    child.on('error', reject);
    child.on('close', (code, killedBy) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', kill);
      if (signal?.aborted === true) return reject(signal.reason);
      const lines = parts.join('').split('\n');
      const found = lines.find(MARKED);
      if (found !== undefined)
        return resolve({
          ...(JSON.parse(found) as { answer: T }),
          text: lines.filter((line) => !MARKED(line)).join('\n'),
        });
      const end =
        killedBy === 'SIGKILL' ? `it took longer than ${options.timeoutMs} ms` : `it ended with ${killedBy ?? code}`;
      reject(
        new NixlError(
          'Unavailable',
          `${operation}: the probe gave no answer, ${end}: ${errors.join('').trim().slice(-500)}`,
          { reason: 'nixl.probe', operation },
        ),
      );
    });
  });
}
