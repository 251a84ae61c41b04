import { existsSync, realpathSync } from 'node:fs';

import { checkString } from '../check.js';
import { DynamoError, shown } from '../errors.js';

/** Checks that a path exists. */
export function checkPath(path: string, value: unknown): asserts value is string {
  checkString(path, value);
  if (!existsSync(value))
    throw new DynamoError('NotFound', `${path}: expected an existing path, got ${shown(value)}`, {
      reason: 'request.not_found',
    });
}

/**
 * The one name of a model's folder, without links. A frontend combines only workers whose cards have the same path. The
 * name of a model on the hub is returned as it is.
 */
export function realModelPath(value: string): string {
  return existsSync(value) ? realpathSync(value) : value;
}

/** Checks a model's folder, or its name on the model hub. Only a value that looks like a path must exist. */
export function checkModelPath(path: string, value: unknown): void {
  checkString(path, value);
  if (value.startsWith('/') || value.startsWith('.')) checkPath(path, value);
}
