import type {
  Decision,
  PassSample,
  PlannerConfig,
  PlannerState,
  PoolRole,
  PoolSnapshot,
  Snapshot,
  WorkerSnapshot,
} from 'dynamo-node/planner';
import { decide, initialState } from '../../../lib/planner/core/decide.js';
import { mockerTime } from './engine.js';

export const IDLE = { queuedPrefillTokens: 0, queuedRequests: 0, queuedKvTokens: 0, decodeRequests: 0, kvTokens: 0 };

/** Passes of all sizes, from which a model is learned. */
export const PROFILE: readonly PassSample[] = [0, 500, 2000, 8000].flatMap((prefillTokens) =>
  [1, 20, 100, 250].map((decodeRequests) => {
    const kvTokens = decodeRequests * 1600;
    return { prefillTokens, decodeRequests, kvTokens, wallMs: mockerTime(prefillTokens, decodeRequests, kvTokens) };
  }),
);

export function worker(id: string, load: Partial<WorkerSnapshot['load']> = {}, more: object = {}): WorkerSnapshot {
  return { id, ageMs: 0, load: { ...IDLE, ...load }, passes: [], ...more };
}

/** A pool of workers that all have the same load. */
export function pool(ready: number, load: Partial<WorkerSnapshot['load']> = {}, desired = ready): PoolSnapshot {
  return { desired, ready, workers: Array.from({ length: ready }, (_, index) => worker(`w${index}`, load)) };
}

/** Makes decisions one after the other, 5 s apart. */
export class Deciding {
  state: PlannerState;
  nowMs = 0;

  constructor(readonly config: PlannerConfig) {
    this.state = initialState(config, 0);
  }

  /** One decision. `traffic`: requests per second, with prompts of 1500 and answers of 200 tokens. */
  next(pools: Partial<Record<PoolRole, PoolSnapshot>>, rate?: number, more: Partial<Snapshot> = {}): Decision {
    this.nowMs += 5000;
    const traffic =
      rate === undefined
        ? {}
        : { traffic: { durationMs: 5000, requests: rate * 5, inputTokens: 1500, outputTokens: 200 } };
    const decision = decide({ nowMs: this.nowMs, pools, ...traffic, ...more }, this.state, this.config);
    this.nowMs = more.nowMs ?? this.nowMs;
    this.state = JSON.parse(JSON.stringify(decision.state)) as PlannerState;
    return decision;
  }
}
