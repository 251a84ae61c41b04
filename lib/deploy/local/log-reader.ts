import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { oldLogFile } from './log-file.js';

/** One line of a log file: its time in ISO 8601, and its text. */
export type WorkerLine = readonly [time: string, text: string];

const CHUNK_BYTES = 1024 * 1024;

/** Reads the lines of a worker from its log files, and later those that were added. */
export class LogReader {
  #inode: number | undefined;
  #offset = 0;

  constructor(readonly path: string) {}

  /** The lines since the last call. The first call also reads the file that was put aside. */
  read(): WorkerLine[] {
    const isFirst = this.#inode === undefined;
    const old = isFirst || this.#wasRotated() ? this.#readFile(oldLogFile(this.path), isFirst ? 0 : this.#offset) : [];
    const offset = isFirst || this.#wasRotated() ? 0 : this.#offset;
    return [...old, ...this.#readFile(this.path, offset)];
  }

  #wasRotated(): boolean {
    const descriptor = open(this.path);
    if (descriptor === undefined) return false;
    const { ino } = fstatSync(descriptor);
    closeSync(descriptor);
    return ino !== this.#inode;
  }

  #readFile(path: string, from: number): WorkerLine[] {
    const descriptor = open(path);
    if (descriptor === undefined) return [];
    const chunks: Buffer[] = [];
    let offset = from;
    for (;;) {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const read = readSync(descriptor, chunk, 0, CHUNK_BYTES, offset);
      if (read === 0) break;
      chunks.push(chunk.subarray(0, read));
      offset += read;
    }
    const bytes = Buffer.concat(chunks);
    // A line that is being written is read by the next call.
    const end = bytes.lastIndexOf('\n') + 1;
    if (path === this.path) {
      this.#inode = fstatSync(descriptor).ino;
      this.#offset = from + end;
    }
    closeSync(descriptor);
    return bytes.subarray(0, end).toString('utf8').split('\n').slice(0, -1).map(lineOf);
  }
}

function open(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined;
  }
}

function lineOf(line: string): WorkerLine {
  const space = line.indexOf(' ');
  return [line.slice(0, space), line.slice(space + 1)];
}
