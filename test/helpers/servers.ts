import { missingServers, type ServerProgram } from '../../lib/testing/server.js';

export { TestServer as Server } from '../../lib/testing/server.js';

/** Why a test that needs these servers cannot run here, or undefined if it can. */
export function serversMissing(...programs: readonly ServerProgram[]): string | undefined {
  const missing = missingServers(...programs);
  return missing.length === 0
    ? undefined
    : `not installed: ${missing.join(', ')} (node scripts/setup.mjs --test installs what is missing)`;
}
