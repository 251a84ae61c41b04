import { constants } from 'node:buffer';
import { badArgument } from '../errors.js';

/** Checks the size of a view of external memory. Node.js 20 supports at most 4 GiB. */
export function checkViewBytes(path: string, bytes: number): void {
  const max = constants.MAX_LENGTH;
  if (bytes > max)
    throw badArgument(
      new RangeError(
        `${path}: expected at most ${max} bytes, the largest view in Node.js ${process.versions.node}, got ${bytes}`,
      ),
    );
}
