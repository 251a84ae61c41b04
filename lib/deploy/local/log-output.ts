import { write } from 'node:fs';
import { type Readable, Writable } from 'node:stream';
import type { LogFile } from './log-file.js';
import { LineSplitter } from './log-lines.js';

const RETRY_MS = 10;
/** A pipe or socket is full, or the kernel has no memory for more of it. */
const FULL: ReadonlySet<string> = new Set(['EAGAIN', 'ENOBUFS']);

/**
 * A descriptor as a stream that never blocks this thread. The streams of `process` block it while the reader of a pipe
 * or a terminal pauses, and a signal is then not handled.
 */
export function descriptorOutput(descriptor: number, writeTo: typeof write = write): Writable {
  return new Writable({
    decodeStrings: true,
    write(chunk: Buffer, _, done) {
      const rest = (from: number): void =>
        writeTo(descriptor, chunk, from, chunk.length - from, null, (error, written) => {
          if (error !== null && FULL.has(error.code ?? '')) setTimeout(rest, RETRY_MS, from);
          else if (error !== null) done(error);
          else if (from + written < chunk.length) rest(from + written);
          else done();
        });
      rest(0);
    },
  });
}

/** Where the lines of all workers go. A slow reader stops the workers, so lines take no memory. */
export class LogOutput {
  #waiting: (() => void)[] = [];
  #isLost = false;
  #isReleased = false;

  /** @param onLost called once when the reader of the output has left */
  constructor(
    readonly out: Writable,
    onLost: () => void = () => {},
  ) {
    out.on('drain', () => this.#resume());
    out.on('error', () => {
      if (!this.#isLost) onLost();
      this.#isLost = true;
      this.#resume();
    });
  }

  /** Writes a text. Resolves when there is space for more. */
  async write(text: string): Promise<void> {
    if (this.#isLost || (this.#isReleased && this.out.writableNeedDrain)) return;
    if (this.out.write(text) || this.#isReleased) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Lets no worker wait for the reader, because it could not end. Lines for which there is no space are dropped. */
  release(): void {
    this.#isReleased = true;
    this.#resume();
  }

  /** Copies the lines of a stream, each with `prefix`, here and with the time to `file`. Resolves at its end. */
  async copy(stream: Readable, prefix: string, file: LogFile): Promise<void> {
    const splitter = new LineSplitter();
    const emit = async (lines: readonly string[]): Promise<void> => {
      if (lines.length === 0) return;
      const time = new Date().toISOString();
      file.write(lines.map((line) => `${time} ${line}\n`).join(''));
      await this.write(lines.map((line) => `${prefix}${line}\n`).join(''));
    };
    try {
      for await (const chunk of stream) await emit(splitter.push(chunk as Buffer));
    } catch {
      // The stream of a process that was killed may end with an error.
    }
    await emit(splitter.end());
  }

  #resume(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
