import type { PassTime } from '../../../lib/planner/core/performance.js';
import type { SimulatedEngineOptions } from '../../../lib/planner/core/simulate/worker.js';

/** The KV cache of the simulated engine: 16,384 blocks of 64 tokens. */
export const KV_TOKENS = 16_384 * 64;

/** The times of the simulator crate's default engine. Source: `aisimulate-core` `engine/common/perf_model.rs`. */
export const mockerTime: PassTime = (prefillTokens, decodeRequests, kvTokens) => {
  const prefillMs =
    prefillTokens > 0 ? 4.209989e-7 * prefillTokens * prefillTokens + 1.518344e-2 * prefillTokens + 16.5 : 0;
  const used = Math.min(1, kvTokens / KV_TOKENS);
  const decodeMs = decodeRequests > 0 ? Math.max(1, -25.74 * used * used + 54.01 * used + 5.74) : 0;
  return Math.max(1, prefillMs + decodeMs);
};

export const mockerEngine: SimulatedEngineOptions = {
  time: mockerTime,
  maxBatchedTokens: 8192,
  maxRequests: 256,
  kvTokens: KV_TOKENS,
};
