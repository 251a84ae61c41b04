import { type FileHandle, open } from 'node:fs/promises';
import { oldLogFile } from '../deploy/local/log-file.js';
import type { InstanceLogLine, LogPart, LogSource } from './backend.js';

/** What is read at once. A worker that writes more between two reads has lines left out. */
const MAX_PART_BYTES = 512 * 1024;

function lineOf(line: string): InstanceLogLine {
  const space = line.indexOf(' ');
  return { time: line.slice(0, space), text: line.slice(space + 1) };
}

async function opened(path: string): Promise<FileHandle | undefined> {
  return open(path, 'r').catch(() => undefined);
}

/** The bytes of a file from an offset, at most the last `MAX_PART_BYTES`. */
async function bytesFrom(file: FileHandle, offset: number, end: number): Promise<Buffer> {
  const bytes = Buffer.alloc(end - offset);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
  return bytes.subarray(0, bytesRead);
}

/** Reads the last lines of a log file, and later those that were added. Each call reads a bounded part. */
export class LogTail implements LogSource {
  #inode: number | undefined;
  #offset = 0;

  /** @param tail the number of lines of the first call */
  constructor(
    private readonly path: string,
    private readonly tail: number,
  ) {}

  async read(): Promise<LogPart> {
    const isFirst = this.#inode === undefined;
    const rest = isFirst ? { lines: [], skippedBytes: 0 } : await this.#restOfOld();
    const part = await this.#part(this.path, isFirst);
    return isFirst
      ? { lines: this.tail === 0 ? [] : part.lines.slice(-this.tail), skippedBytes: 0 }
      : { lines: [...rest.lines, ...part.lines], skippedBytes: rest.skippedBytes + part.skippedBytes };
  }

  /** What was added to the file before it was put aside. */
  async #restOfOld(): Promise<LogPart> {
    const file = await opened(this.path);
    if (file === undefined) return { lines: [], skippedBytes: 0 };
    const { ino, size } = await file.stat();
    await file.close();
    if (ino === this.#inode && size >= this.#offset) return { lines: [], skippedBytes: 0 };
    const rest = await this.#part(oldLogFile(this.path), false);
    this.#inode = ino;
    this.#offset = 0;
    return rest;
  }

  async #part(path: string, isFirst: boolean): Promise<LogPart> {
    const file = await opened(path);
    if (file === undefined) return { lines: [], skippedBytes: 0 };
    try {
      const { ino, size } = await file.stat();
      // Another file than the one of which a part was read.
      if (!isFirst && ino !== this.#inode) return { lines: [], skippedBytes: 0 };
      const from = Math.max(this.#offset, size - MAX_PART_BYTES);
      const bytes = await bytesFrom(file, from, size);
      // A line that is being written is read by the next call. One that was cut at its beginning is left out.
      const end = bytes.lastIndexOf(0x0a) + 1;
      const begin = from === this.#offset ? 0 : bytes.indexOf(0x0a) + 1;
      const skippedBytes = isFirst ? 0 : from - this.#offset + begin;
      this.#inode = ino;
      this.#offset = from + end;
      const text = bytes.subarray(begin, Math.max(begin, end)).toString('utf8');
      return { lines: text.split('\n').slice(0, -1).map(lineOf), skippedBytes };
    } finally {
      await file.close();
    }
  }
}
