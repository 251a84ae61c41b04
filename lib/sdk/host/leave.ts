import type { DistributedRuntime } from '../../runtime/distributed-runtime.js';
import type { RunningService } from '../host.js';

/** How long callers may take to see that a worker has left discovery. */
export const LINGER_MS = 1000;

/** No new caller finds a worker, while it still serves. */
export async function leaveDiscovery(
  runtime: DistributedRuntime,
  { namespace, service }: RunningService,
): Promise<void> {
  const { component, endpoints, program } = service;
  const names = endpoints.filter(({ transports }) => transports.includes('dynamo')).map(({ name }) => name);
  for (const name of program.kind === 'code' ? names : ['generate'])
    await runtime.endpoint(`${namespace}.${component}.${name}`).unregister();
}
