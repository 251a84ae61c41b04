import { readFileSync } from 'node:fs';

import { checkObject } from '../check.js';

const VARIABLE = 'DYN_HEALTH_CHECK_PAYLOAD';

/**
 * The `healthCheck` request of `$DYN_HEALTH_CHECK_PAYLOAD`, which is JSON or `@FILE`; undefined if the variable is not
 * set.
 *
 * @example
 * await endpoint.serve(() => 'well', { healthCheck: healthCheckFromEnvironment() ?? { text: 'hello' } });
 * @throws TypeError if it is not an object, SyntaxError if it is not JSON
 */
export function healthCheckFromEnvironment(): Readonly<Record<string, unknown>> | undefined {
  const text = process.env[VARIABLE];
  if (text === undefined || text === '') return undefined;
  const payload = JSON.parse(text.startsWith('@') ? readFileSync(text.slice(1), 'utf8') : text) as unknown;
  checkObject(`$${VARIABLE}`, payload);
  return payload;
}
