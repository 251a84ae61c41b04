import { existsSync } from 'node:fs';

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

/** Checks a model's folder, or its name on the model hub. Only a value that looks like a path must exist. */
export function checkModelPath(path: string, value: unknown): void {
  checkString(path, value);
  if (value.startsWith('/') || value.startsWith('.')) checkPath(path, value);
}
