import { readFileSync } from 'node:fs';

import { checkObject } from '../check.js';

const VARIABLE = 'DYN_HEALTH_CHECK_PAYLOAD';

/**
 * The request of `healthCheck` that `$DYN_HEALTH_CHECK_PAYLOAD` holds as JSON, or as `@FILE` names; undefined where it is not set.
 * Where it is no object, a TypeError; where it is no JSON, a SyntaxError.
 *
 * @example
 * await endpoint.serve(() => 'well', { healthCheck: healthCheckFromEnvironment() ?? { text: 'hello' } });
 */
export function healthCheckFromEnvironment(): Readonly<Record<string, unknown>> | undefined {
  const text = process.env[VARIABLE];
  if (text === undefined || text === '') return undefined;
  const payload = JSON.parse(text.startsWith('@') ? readFileSync(text.slice(1), 'utf8') : text) as unknown;
  checkObject(`$${VARIABLE}`, payload);
  return payload;
}
