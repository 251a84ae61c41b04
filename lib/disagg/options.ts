import { randomUUID } from 'node:crypto';
import { wrongType } from '../check.js';
import type { BlockManager } from '../kvbm/manager.js';
import { NixlAgent } from '../nixl/agent.js';
import { loadNixl, type NixlMode } from '../nixl/library.js';
import { custom, type Option, oneOf } from '../options.js';
import { Metrics } from '../runtime/metrics.js';
import { HandoffError } from './errors.js';

export const nixlRow: Option<NixlMode> = oneOf('real', 'mock', 'auto').about('Which NIXL library moves the bytes.');

export const metricsRow: Option<Metrics> = custom<Metrics>('the metrics of an endpoint', (path, value) => {
  if (!(value instanceof Metrics)) wrongType(path, 'the metrics of an endpoint', value);
}).about('Where the metrics of the transfers appear.');

/** The agent for a manager's blocks, and whether it is closed with its user. */
export interface OwnedAgent {
  readonly agent: NixlAgent;
  readonly isOwn: boolean;
}

/**
 * An agent that holds the manager's blocks and nothing else. Its name is new at each start, so no peer takes it for an
 * earlier one. Blocks in a region belong to the region's agent, which is used then.
 *
 * @throws HandoffError `disagg.library` if the region's agent has another library than `mode`
 */
export async function agentFor(
  operation: string,
  manager: BlockManager,
  role: string,
  mode: NixlMode,
): Promise<OwnedAgent> {
  const { region } = manager.core;
  if (region !== undefined) {
    const { kind } = region.agent.library;
    if (mode !== 'auto' && mode !== kind)
      throw new HandoffError(
        'disagg.library',
        `options.nixl: expected ${kind}, the library of the agent of the blocks, got ${mode}`,
        operation,
      );
    return { agent: region.agent, isOwn: false };
  }
  const agent = await NixlAgent.create(`${role}-${randomUUID()}`, { library: loadNixl({ mode }) });
  return { agent, isOwn: true };
}
