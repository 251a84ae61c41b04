import { existsSync } from 'node:fs';

import { checkString } from '../check.js';
import { DynamoError, shown } from '../errors.js';

/** A path of something that is there. */
export function checkPath(path: string, value: unknown): asserts value is string {
  checkString(path, value);
  if (!existsSync(value))
    throw new DynamoError('NotFound', `${path}: expected the path of something that is there, got ${shown(value)}`, {
      reason: 'request.not_found',
    });
}

/** Checks a model's folder, or its name on the model hub: only what looks like a path must be there. */
export function checkModelPath(path: string, value: unknown): void {
  checkString(path, value);
  if (value.startsWith('/') || value.startsWith('.')) checkPath(path, value);
}
