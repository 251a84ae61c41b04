import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** The size at which a log file is put aside. One old file is kept, so a worker has at most twice as much on disk. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** The name of the file that was put aside. */
export const oldLogFile = (path: string): string => `${path}.1`;

/** A log file of limited size. A full disk ends the file and not the graph. */
export class LogFile {
  #descriptor: number | undefined;
  #bytes = 0;

  /** @param onFault called once with what went wrong; the file then takes no further lines */
  constructor(
    readonly path: string,
    readonly onFault: (message: string) => void,
    readonly maxBytes = MAX_FILE_BYTES,
  ) {
    this.#try(() => {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      this.#open();
    });
  }

  /** Writes lines. They are in the file when it returns. */
  write(text: string): void {
    this.#try(() => {
      if (this.#descriptor === undefined) return;
      this.#bytes += writeSync(this.#descriptor, text);
      if (this.#bytes < this.maxBytes) return;
      closeSync(this.#descriptor);
      this.#descriptor = undefined;
      renameSync(this.path, oldLogFile(this.path));
      this.#open();
    });
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): void {
    this.#descriptor = openSync(this.path, 'a', 0o600);
    this.#bytes = fstatSync(this.#descriptor).size;
  }

  #try(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.close();
      this.onFault(`${this.path}: no further log lines are written (${(error as Error).message})`);
    }
  }
}
