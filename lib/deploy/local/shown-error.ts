import { inspect } from 'node:util';
import { DynamoError } from '../../errors.js';

/**
 * An error of a worker as its log shows it: the message alone for one that Dynamo, the system or a check reports, such
 * as a port that is taken; everything for any other, which may be a bug of the program.
 *
 * @param isWhole whether everything is shown in any case
 */
export function shownError(error: unknown, isWhole: boolean): string {
  if (isWhole || !(error instanceof Error)) return inspect(error);
  const { code } = error as NodeJS.ErrnoException;
  const isExpected =
    (DynamoError.is(error) && error.class !== 'Internal') || code === 'EADDRNOTAVAIL' || code === 'EACCES';
  return isExpected ? `${error.name}: ${error.message}` : inspect(error);
}
