import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { passTimeOf, profiled } from '../planner/core/performance.js';
import { DEFAULT_ENGINE } from '../planner/core/simulate/engines.js';
import type { Scenario } from '../planner/core/simulate/entrants.js';
import { parseMooncake } from '../planner/core/simulate/mooncake.js';
import type { TraceRequest } from '../planner/core/simulate/trace.js';
import type { SimulatedEngineOptions } from '../planner/core/simulate/worker.js';
import { parseProfile } from '../planner/profile.js';
import { CliError, type CommandIo, EXIT } from './command.js';
import { inputFile } from './input-file.js';
import type { PlannerScenarioOptions } from './planner.js';

/** The context of a model that takes no longer prompts than the trace has. */
const MIN_CONTEXT_TOKENS = 8192;
/** A longer trace has other units than ms. */
const MAX_DAYS = 366;
const MS_PER_DAY = 86_400_000;
/** Each takes up to some milliseconds, and a comparison has several planners. */
const MAX_DECISIONS = 100_000;
const INTERVAL_MS = 5000;
const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** Reads a file with a function that names the file in its errors. */
function readWith<Result>(name: string, { cwd }: CommandIo, read: (path: string, file: Buffer) => Result): Result {
  const { path, stats } = inputFile(name, cwd, 'E_BAD_FILE');
  const fail = (message: string): never => {
    throw new CliError('E_BAD_FILE', message, { exitCode: EXIT.data, path });
  };
  if (stats.size > MAX_FILE_BYTES) fail(`${path}: expected at most ${MAX_FILE_BYTES} bytes`);
  try {
    return read(path, readFileSync(path));
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return fail(error.message);
    throw error;
  }
}

/** An engine with the times of a profile. */
function engineOf({ profile = [], ...limits }: PlannerScenarioOptions, io: CommandIo): SimulatedEngineOptions {
  const read = profile.map((name) => readWith(name, io, parseProfile));
  const kvTokens = read.find((one) => one.kvTokens !== undefined)?.kvTokens;
  const time = passTimeOf(profiled(read.flatMap(({ passes }) => passes)));
  if (profile.length > 0 && time === undefined)
    throw new CliError('E_BAD_FILE', `${profile.join(', ')}: too few measurements`, { exitCode: EXIT.data });
  return {
    time: time === undefined ? DEFAULT_ENGINE.time : (...pass) => Math.max(0.01, time(...pass)),
    maxBatchedTokens: limits.maxBatchedTokens ?? DEFAULT_ENGINE.maxBatchedTokens,
    maxRequests: limits.maxRequests ?? DEFAULT_ENGINE.maxRequests,
    kvTokens: limits.kvTokens ?? kvTokens ?? DEFAULT_ENGINE.kvTokens,
  };
}

/** The fleets and the load of a command. */
export interface PlannerScenario {
  readonly scenario: Scenario;
  readonly trace: readonly TraceRequest[];
  /** A line about the trace. */
  readonly summary: string;
}

/**
 * Reads the trace and the profile of a command.
 *
 * @throws CliError `E_BAD_FILE`: 66 for a file that is not there, 65 for another content
 */
export function scenarioOf(name: string, options: PlannerScenarioOptions, io: CommandIo): PlannerScenario {
  const { mode = 'agg', ttftMs = 2000, itlMs = 50, attainment = 0.99, maxGpus = 16, gpusPerWorker = 1 } = options;
  const { coldStartMs = 30_000, intervalMs, predictor, prefixCache = false, speedup = 1 } = options;
  const trace = readWith(name, io, (path, file) =>
    parseMooncake(path, file.toString('utf8'), { hasPrefixCache: prefixCache, speedup }),
  );
  const days = (trace.at(-1)?.atMs ?? 0) / MS_PER_DAY;
  if (days > MAX_DAYS) {
    const message = `${name}: expected timestamps in ms over at most ${MAX_DAYS} days, got ${Math.ceil(days)} days`;
    throw new CliError('E_BAD_FILE', message, { exitCode: EXIT.data, path: resolve(io.cwd, name) });
  }
  const least = gpusPerWorker * (mode === 'agg' ? 1 : 2);
  if (maxGpus < least)
    throw new CliError('E_USAGE', `--max-gpus: expected at least ${least}, got ${maxGpus}`, { exitCode: EXIT.usage });
  const contextTokens = trace.reduce(
    (most, { inputTokens, outputTokens }) => Math.max(most, inputTokens + outputTokens),
    MIN_CONTEXT_TOKENS,
  );
  const engine = engineOf(options, io);
  checkLength(name, trace, engine, intervalMs, io);
  const scenario: Scenario = {
    ...{ mode, ttftMs, itlMs, attainment, maxGpus, gpusPerWorker, contextTokens, coldStartMs },
    engine,
    config: {
      ...(intervalMs === undefined ? {} : { intervalMs }),
      ...(predictor === undefined ? {} : { predictor }),
    },
  };
  return { scenario, trace, summary: summaryOf(trace) };
}

/** Refuses a load that a planner would decide on too often: a simulation takes a part of a millisecond for each. */
function checkLength(
  name: string,
  trace: readonly TraceRequest[],
  { time }: SimulatedEngineOptions,
  intervalMs = INTERVAL_MS,
  { cwd }: CommandIo,
): void {
  const endMs = trace.reduce((last, { atMs, inputTokens, outputTokens }) => {
    return Math.max(last, atMs + outputTokens * time(0, 1, inputTokens + outputTokens / 2));
  }, 0);
  const decisions = Math.ceil(endMs / intervalMs);
  if (decisions <= MAX_DECISIONS) return;
  throw new CliError('E_BAD_FILE', `${name}: expected at most ${MAX_DECISIONS} decisions a planner, got ${decisions}`, {
    exitCode: EXIT.data,
    path: resolve(cwd, name),
    hint: `--interval-ms ${Math.ceil(endMs / MAX_DECISIONS)}, a larger --speedup, or a shorter part of the trace`,
  });
}

function summaryOf(trace: readonly TraceRequest[]): string {
  const seconds = Math.max(0.001, (trace.at(-1)?.atMs ?? 0) / 1000);
  const mean = (amountOf: (request: TraceRequest) => number): number =>
    trace.reduce((sum, request) => sum + amountOf(request), 0) / trace.length;
  const cached = mean(({ cachedTokens = 0 }) => cachedTokens) / mean(({ inputTokens }) => inputTokens);
  const prompts = `prompts of ${mean(({ inputTokens }) => inputTokens).toFixed(0)} tokens`;
  const cache = cached > 0 ? `, ${(cached * 100).toFixed(0)}% of them in a cache` : '';
  return (
    `${trace.length} requests in ${seconds.toFixed(0)} s, ${prompts}${cache}, ` +
    `answers of ${mean(({ outputTokens }) => outputTokens).toFixed(0)}`
  );
}
