import { resolve } from 'node:path';
import type { Entrant, Scenario } from '../planner/core/simulate/entrants.js';
import type { ScalingEvent, SimulationReport } from '../planner/core/simulate/simulation.js';
import type { PoolRole, Snapshot, Targets } from '../planner/core/types.js';
import { replayPlanner } from '../planner/replay.js';
import { type ReplayOptions, type ReplayPool, replayTrace } from '../router/replay.js';
import type { CommandIo } from './command.js';
import type { PlannerSimulateOptions } from './planner.js';

/** The tokens of a block of the simulated KV cache. */
const BLOCK_TOKENS = 64;

function poolOf({ engine: limits, coldStartMs }: Scenario, { worker, prefill = 1, decode = 1 }: Targets): ReplayPool {
  const engineOf = (workerType: string) => ({
    startup_time: coldStartMs / 1000,
    engine: {
      backend: 'vllm',
      worker_type: workerType,
      block_size: BLOCK_TOKENS,
      num_gpu_blocks: Math.floor(limits.kvTokens / BLOCK_TOKENS),
      max_num_seqs: limits.maxRequests,
      max_num_batched_tokens: limits.maxBatchedTokens,
    },
  });
  if (worker !== undefined) return { kind: 'aggregated', workers: worker, engine: engineOf('aggregated') };
  const engines = { prefillEngine: engineOf('prefill'), decodeEngine: engineOf('decode') };
  return { kind: 'disaggregated', prefillWorkers: prefill, decodeWorkers: decode, ...engines };
}

/** What a planner changed, from its decisions. */
class Changes {
  readonly events: ScalingEvent[] = [];
  readonly fewest: Partial<Record<PoolRole, number>>;

  constructor(initial: Targets) {
    this.fewest = { ...initial };
  }

  add(targets: Targets, { nowMs, pools }: Snapshot): void {
    for (const [role, to] of Object.entries(targets) as [PoolRole, number][]) {
      const from = pools[role]?.desired ?? to;
      if (from === to) continue;
      this.events.push({ atMs: nowMs, role, from, to });
      this.fewest[role] = Math.min(this.fewest[role] ?? to, to);
    }
  }
}

/**
 * Runs a fleet on Dynamo's own simulator: its router, its engines and their prefix caches.
 *
 * @param mode how requests are routed
 */
export async function replayed(
  scenario: Scenario,
  trace: string,
  { initial, config, sink }: Entrant,
  mode: NonNullable<ReplayOptions['mode']>,
  { speedup }: PlannerSimulateOptions,
  io: CommandIo,
): Promise<SimulationReport> {
  const { ttftMs, itlMs, gpusPerWorker } = scenario;
  const changes = new Changes(initial);
  const scaling =
    config &&
    replayPlanner(config, {
      onDecision(decision, snapshot) {
        changes.add(decision.targets, snapshot);
        sink?.(snapshot, decision);
      },
    });
  const report = await replayTrace({
    ...{ trace: resolve(io.cwd, trace), pool: poolOf(scenario, initial), mode, sla: { ttftMs, itlMs } },
    ...(speedup === undefined ? {} : { speedup }),
    ...(scaling === undefined ? {} : { scaling }),
  });
  const figure = (name: string): number => Number(report[name] ?? 0);
  return {
    requests: report.num_requests,
    goodput: figure('goodput_completed_requests') / Math.max(1, report.num_requests),
    gpuHours: figure('gpu_hours') * gpusPerWorker,
    meanTtftMs: report.mean_ttft_ms,
    p99TtftMs: figure('p99_ttft_ms'),
    meanItlMs: figure('mean_tpot_ms'),
    p99ItlMs: figure('p99_tpot_ms'),
    durationMs: figure('duration_ms'),
    events: changes.events,
    fewest: changes.fewest,
  };
}
