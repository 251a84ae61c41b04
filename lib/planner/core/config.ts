import { checkObject } from '../../check.js';
import { custom, integer, milliseconds, nested, number, type OptionTable, oneOf, optionTable } from '../../options.js';
import type { PredictorName } from './predictors.js';
import type { PassSample, PoolRole } from './types.js';

/** Which workers are planned. */
export type PlannerMode = 'agg' | 'disagg' | 'prefill' | 'decode';

/** What the planner optimizes. */
export type PlannerObjective = 'throughput' | 'latency' | 'load' | 'sla';

/** The latency that requests should have. */
export interface SlaOptions {
  /** Time to first token. @default 500 */
  readonly ttftMs?: number;
  /** Inter-token latency, the mean of a request. @default 50 */
  readonly itlMs?: number;
  /** The share of requests that should have it, 0.5 to 0.9999. @default 0.99 */
  readonly attainment?: number;
}

/** Thresholds of objective `load`. */
export interface LoadThresholds {
  /** Queued prompt tokens of a worker, from which workers are added. */
  readonly prefillUpTokens: number;
  /** Queued prompt tokens of every worker, up to which workers are removed. */
  readonly prefillDownTokens: number;
  /** Used share of the KV cache of a worker, from which workers are added. */
  readonly decodeUpShare: number;
  /** Used share of the KV cache of every worker, up to which workers are removed. */
  readonly decodeDownShare: number;
}

/** A role: its limits, and what one worker can hold. */
export interface PoolOptions {
  /** The fewest workers. @default 1 */
  readonly minWorkers?: number;
  /** The most workers. @default no limit but `maxGpus` */
  readonly maxWorkers?: number;
  /** @default 1 */
  readonly gpusPerWorker?: number;
  /** The most prompt tokens of a pass. @default 8192 */
  readonly maxBatchedTokens?: number;
  /** The most concurrent requests of a worker. @default 256 */
  readonly maxRequests?: number;
  /** The tokens that fit into the KV cache of a worker. @default unlimited */
  readonly kvTokens?: number;
  /** The longest context of the model, in tokens. @default 8192 */
  readonly contextTokens?: number;
  /** Measured passes to begin with, such as those of a profile. @default none */
  readonly profile?: readonly PassSample[];
}

/** How a planner decides. Every field has a default. */
export interface PlannerConfig {
  /** @default 'agg' */
  readonly mode?: PlannerMode;
  /** @default 'sla' */
  readonly objective?: PlannerObjective;
  readonly sla?: SlaOptions;
  /** For objective `load`. */
  readonly thresholds?: LoadThresholds;
  readonly pools?: Readonly<Partial<Record<PoolRole, PoolOptions>>>;
  /** GPUs of all pools together. @default 8 */
  readonly maxGpus?: number;
  /** The most workers of a role that one decision adds. @default no limit */
  readonly maxStepUp?: number;
  /** The most workers of a role that one decision removes. @default no limit */
  readonly maxStepDown?: number;
  /** The time between decisions. @default 5000 */
  readonly intervalMs?: number;
  /** The cold start that is assumed until one is measured. @default 30000 */
  readonly coldStartMs?: number;
  /** Metrics of a worker that are older are ignored. @default 10000 */
  readonly staleMs?: number;
  /** How the arrival rate is predicted. @default 'adaptive' */
  readonly predictor?: PredictorName;
  /** For predictor `seasonal`. @default one day */
  readonly seasonMs?: number;
}

/** The table of a role. */
export const POOL_OPTIONS: OptionTable<PoolOptions> = optionTable<PoolOptions>({
  minWorkers: integer(0).about('The fewest workers.'),
  maxWorkers: integer(1).about('The most workers.'),
  gpusPerWorker: integer(0).about('GPUs of one worker.'),
  maxBatchedTokens: integer(1).about('The most prompt tokens of a pass.'),
  maxRequests: integer(1).about('The most concurrent requests of a worker.'),
  kvTokens: integer(1).about('The tokens that fit into the KV cache of a worker.'),
  contextTokens: integer(1).about('The longest context of the model, in tokens.'),
  profile: custom<readonly PassSample[]>('an array of passes', checkProfile).about('Measured passes to begin with.'),
});

const PASS: OptionTable<PassSample> = optionTable<PassSample>({
  wallMs: number(0).required(),
  prefillTokens: number(0).required(),
  decodeRequests: number(0).required(),
  kvTokens: number(0).required(),
});

function checkProfile(path: string, value: unknown): void {
  if (!Array.isArray(value)) checkObject(path, undefined);
  for (const [index, pass] of (value as unknown[]).entries()) PASS.check(`${path}[${index}]`, pass);
}

const pool = nested(POOL_OPTIONS);

/** The table of the configuration. */
export const PLANNER_CONFIG: OptionTable<PlannerConfig> = optionTable<PlannerConfig>({
  mode: oneOf('agg', 'disagg', 'prefill', 'decode').about('Which workers are planned.'),
  objective: oneOf('throughput', 'latency', 'load', 'sla').about('What the planner optimizes.'),
  sla: nested(
    optionTable<SlaOptions>({
      ttftMs: number(1).about('Time to first token.'),
      itlMs: number(0.1).about('Inter-token latency, the mean of a request.'),
      attainment: number(0.5, 0.9999).about('The share of requests that should have the latency.'),
    }),
  ).about('The latency that requests should have.'),
  thresholds: nested(
    optionTable<LoadThresholds>({
      prefillUpTokens: number(0).required(),
      prefillDownTokens: number(0).required(),
      decodeUpShare: number(0, 100).required(),
      decodeDownShare: number(0, 100).required(),
    }),
  ).about('For objective `load`.'),
  pools: nested(
    optionTable<Readonly<Partial<Record<PoolRole, PoolOptions>>>>({ worker: pool, prefill: pool, decode: pool }),
  ).about('The limits of each role, and what one worker can hold.'),
  maxGpus: integer(1).about('GPUs of all pools together.'),
  maxStepUp: integer(1).about('The most workers of a role that one decision adds.'),
  maxStepDown: integer(1).about('The most workers of a role that one decision removes.'),
  intervalMs: milliseconds(100).about('The time between decisions.'),
  coldStartMs: milliseconds(0).about('The cold start that is assumed until one is measured.'),
  staleMs: milliseconds(1).about('Metrics of a worker that are older are ignored.'),
  predictor: oneOf('adaptive', 'constant', 'kalman', 'autoregressive', 'seasonal', 'burst').about(
    'How the arrival rate is predicted.',
  ),
  seasonMs: number(1000).about('The season of predictor `seasonal`.'),
});

/** A role with its defaults. */
export interface PoolPlan {
  readonly role: PoolRole;
  readonly minWorkers: number;
  readonly maxWorkers: number;
  readonly gpusPerWorker: number;
  readonly maxBatchedTokens: number;
  readonly maxRequests: number;
  readonly kvTokens: number;
  readonly contextTokens: number;
  readonly profile: readonly PassSample[];
}

/** A configuration with its defaults. Made by `resolvePlan`. */
export interface ResolvedPlan {
  readonly objective: PlannerObjective;
  readonly ttftMs: number;
  readonly itlMs: number;
  readonly attainment: number;
  readonly thresholds: LoadThresholds | undefined;
  readonly pools: readonly PoolPlan[];
  readonly maxGpus: number;
  readonly maxStepUp: number;
  readonly maxStepDown: number;
  readonly intervalMs: number;
  readonly coldStartMs: number;
  readonly staleMs: number;
  readonly predictor: PredictorName;
  readonly seasonMs: number;
}

const ROLES: Readonly<Record<PlannerMode, readonly PoolRole[]>> = {
  agg: ['worker'],
  disagg: ['prefill', 'decode'],
  prefill: ['prefill'],
  decode: ['decode'],
};

/** The roles that a mode plans. */
export const rolesOf = (mode: PlannerMode): readonly PoolRole[] => ROLES[mode];

const DAY_MS = 86_400_000;
const UNLIMITED = Number.MAX_SAFE_INTEGER;

/**
 * Checks a configuration and adds the defaults.
 *
 * @throws TypeError, RangeError
 */
export function resolvePlan(config: PlannerConfig): ResolvedPlan {
  PLANNER_CONFIG.check('config', config);
  const { mode = 'agg', objective = 'sla', sla = {}, pools = {}, maxGpus = 8 } = config;
  if (objective === 'load' && config.thresholds === undefined)
    throw new TypeError("config.thresholds: expected the thresholds of objective 'load', got undefined");
  const planned = rolesOf(mode).map((role): PoolPlan => {
    const { minWorkers = 1, maxWorkers = UNLIMITED, gpusPerWorker = 1, ...rest } = pools[role] ?? {};
    if (maxWorkers < minWorkers)
      throw new RangeError(`config.pools.${role}.maxWorkers: expected at least ${minWorkers}, got ${maxWorkers}`);
    return {
      ...{ role, minWorkers, maxWorkers, gpusPerWorker },
      maxBatchedTokens: rest.maxBatchedTokens ?? 8192,
      maxRequests: rest.maxRequests ?? 256,
      kvTokens: rest.kvTokens ?? UNLIMITED,
      contextTokens: rest.contextTokens ?? 8192,
      profile: rest.profile ?? [],
    };
  });
  const least = planned.reduce((sum, { minWorkers, gpusPerWorker }) => sum + minWorkers * gpusPerWorker, 0);
  if (least > maxGpus)
    throw new RangeError(`config.maxGpus: expected at least ${least} for the fewest workers, got ${maxGpus}`);
  return {
    objective,
    ttftMs: sla.ttftMs ?? 500,
    itlMs: sla.itlMs ?? 50,
    attainment: sla.attainment ?? 0.99,
    thresholds: config.thresholds,
    pools: planned,
    maxGpus,
    maxStepUp: config.maxStepUp ?? UNLIMITED,
    maxStepDown: config.maxStepDown ?? UNLIMITED,
    intervalMs: config.intervalMs ?? 5000,
    coldStartMs: config.coldStartMs ?? 30_000,
    staleMs: config.staleMs ?? 10_000,
    predictor: config.predictor ?? 'adaptive',
    seasonMs: config.seasonMs ?? DAY_MS,
  };
}
