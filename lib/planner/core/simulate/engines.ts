import type { SimulatedEngineOptions } from './worker.js';

/** Blocks of the KV cache, and tokens of a block. */
const [BLOCKS, BLOCK_TOKENS] = [16_384, 64];
const KV_TOKENS = BLOCKS * BLOCK_TOKENS;

/**
 * The default engine of the simulator crate: times in milliseconds, measured on a GPU of a data centre. Source:
 * `aisimulate-core` `engine/common/perf_model.rs`.
 */
export const DEFAULT_ENGINE: SimulatedEngineOptions = {
  time(prefillTokens, decodeRequests, kvTokens) {
    const prefillMs =
      prefillTokens > 0 ? 4.209989e-7 * prefillTokens * prefillTokens + 1.518344e-2 * prefillTokens + 16.5 : 0;
    const used = Math.min(1, kvTokens / KV_TOKENS);
    const decodeMs = decodeRequests > 0 ? Math.max(1, -25.74 * used * used + 54.01 * used + 5.74) : 0;
    return Math.max(1, prefillMs + decodeMs);
  },
  maxBatchedTokens: 8192,
  maxRequests: 256,
  kvTokens: KV_TOKENS,
};
