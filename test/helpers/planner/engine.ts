import { DEFAULT_ENGINE } from '../../../lib/planner/core/simulate/engines.js';

/** The default engine of the simulator crate. */
export const mockerEngine = DEFAULT_ENGINE;
export const mockerTime = DEFAULT_ENGINE.time;
export const KV_TOKENS = DEFAULT_ENGINE.kvTokens;
