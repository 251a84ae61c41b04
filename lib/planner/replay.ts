import { badArgument } from '../errors.js';
import { callback, type OptionTable, optionTable } from '../options.js';
import type {
  ReplayPass,
  ReplayPoolSnapshot,
  ReplayScalingPolicy,
  ReplayScalingSnapshot,
} from '../router/replay-scaling.js';
import { type PlannerConfig, resolvePlan } from './core/config.js';
import { decided, initialState } from './core/decide.js';
import type { Decision, ObservedLoad, PassSample, PoolSnapshot, Snapshot } from './core/types.js';

/** How a planner takes part in a replay. */
export interface ReplayPlannerOptions {
  /** Receives each decision, and what it was made from. */
  readonly onDecision?: (decision: Decision, snapshot: Snapshot) => void;
}

const REPLAY_PLANNER_OPTIONS: OptionTable<ReplayPlannerOptions> = optionTable<ReplayPlannerOptions>({
  onDecision: callback<NonNullable<ReplayPlannerOptions['onDecision']>>().about('Receives each decision.'),
});

const passOf = (pass: ReplayPass): PassSample => ({
  wallMs: pass.wallMs,
  prefillTokens: pass.prefillTokens,
  decodeRequests: pass.decodeRequests,
  kvTokens: pass.decodeKvTokens,
});

function loadOf(ranks: readonly ReplayPass[]): ObservedLoad {
  const sum = (amountOf: (pass: ReplayPass) => number): number =>
    ranks.reduce((total, pass) => total + amountOf(pass), 0);
  return {
    queuedPrefillTokens: sum((pass) => pass.queuedPrefillTokens),
    queuedRequests: sum((pass) => pass.queuedPrefillRequests + pass.queuedDecodeRequests),
    queuedKvTokens: sum((pass) => pass.queuedDecodeKvTokens),
    decodeRequests: sum((pass) => pass.decodeRequests),
    kvTokens: sum((pass) => pass.decodeKvTokens),
  };
}

function poolOf({ active, starting, passes }: ReplayPoolSnapshot): PoolSnapshot {
  const ranks = new Map<number, ReplayPass[]>(active.map((id) => [id, []]));
  for (const pass of passes) ranks.get(pass.worker)?.push(pass);
  return {
    desired: active.length + starting.length,
    ready: active.length,
    workers: [...ranks]
      .filter(([, own]) => own.length > 0)
      .map(([id, own]) => ({ id: String(id), ageMs: 0, load: loadOf(own), passes: own.map(passOf) })),
  };
}

function snapshotOf({ nowMs, pools, traffic }: ReplayScalingSnapshot): Snapshot {
  return {
    nowMs,
    pools: Object.fromEntries(Object.entries(pools).map(([role, pool]) => [role, poolOf(pool)])),
    traffic,
  };
}

/**
 * A planner as the policy of `replayTrace`: it scales the simulated workers of Dynamo's own simulator. Each policy is
 * for one replay. The mode of the configuration must fit the pool: `agg` for an aggregated one, else one of the others.
 * The simulator refuses requests without a worker of each role, so one of each stays also with `minWorkers: 0`.
 *
 * @example
 * import { replayTrace } from 'dynamo-node';
 * import { replayPlanner } from 'dynamo-node/planner';
 *
 * const report = await replayTrace({
 *   trace: 'mooncake.jsonl',
 *   pool: { kind: 'aggregated', workers: 2, engine: { startup_time: 30 } },
 *   scaling: replayPlanner({ sla: { ttftMs: 2000, itlMs: 50 } }),
 * });
 * @throws TypeError, RangeError for a faulty configuration
 */
export function replayPlanner(config: PlannerConfig, options: ReplayPlannerOptions = {}): ReplayScalingPolicy {
  const plan = resolvePlan(config);
  REPLAY_PLANNER_OPTIONS.check('replayPlanner options', options);
  let state = initialState(config, 0);
  return {
    firstTickMs: plan.intervalMs,
    decide(seen) {
      const missing = plan.pools.find(({ role }) => !(role in seen.pools));
      if (missing !== undefined)
        throw badArgument(
          new TypeError(
            `replayPlanner config.mode: expected a mode for the workers of the replay, ` +
              `${Object.keys(seen.pools).join(' and ')}, got one for ${missing.role}`,
          ),
        );
      const snapshot = snapshotOf(seen);
      const decision = decided(snapshot, state, plan);
      state = decision.state;
      options.onDecision?.(decision, snapshot);
      const targets = Object.entries(decision.targets).map(([role, target]) => [role, Math.max(1, target)]);
      return { targets: Object.fromEntries(targets), nextTickMs: decision.nextTickMs };
    },
  };
}
