import { constants } from 'node:buffer';

/** Before a view of memory that is not JavaScript's own is made: Node.js 20 has none of more than 4 GiB. */
export function checkViewBytes(path: string, bytes: number): void {
  const most = constants.MAX_LENGTH;
  if (bytes > most)
    throw new RangeError(
      `${path}: expected at most ${most} bytes, which a view may have in Node.js ${process.versions.node}, got ${bytes}`,
    );
}
