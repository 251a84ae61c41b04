import type { Reason, Snapshot, Targets, WorkerSnapshot } from './core/types.js';

/** What became of a decision. */
export type DecisionOutcome = 'unchanged' | 'scaled' | 'advisory' | 'failed';

/** A decision with its inputs. */
export interface DecisionRecord {
  /** Counts the ticks of this planner from 1. */
  readonly tick: number;
  /** Wall clock, in milliseconds since 1970. For people; the planner does not use it. */
  readonly atMs: number;
  readonly snapshot: Snapshot;
  readonly targets: Targets;
  readonly reasons: readonly Reason[];
  readonly outcome: DecisionOutcome;
  /** What failed: reading metrics, reading counts or scaling. */
  readonly errors: readonly string[];
  /** The time that the decision itself took. */
  readonly decideMs: number;
}

/** The inputs of a pool, without its single workers. */
interface PoolSummary {
  readonly desired: number;
  readonly ready: number;
  readonly workersWithMetrics: number;
  readonly queuedPrefillTokens: number;
  readonly queuedRequests: number;
  readonly decodeRequests: number;
  readonly kvTokens: number;
}

const total = (workers: readonly WorkerSnapshot[], name: keyof WorkerSnapshot['load']): number =>
  workers.reduce((sum, { load }) => sum + load[name], 0);

function summaryOf({ pools }: Snapshot): Readonly<Record<string, PoolSummary>> {
  return Object.fromEntries(
    Object.entries(pools).map(([role, { desired, ready, workers }]) => [
      role,
      {
        desired,
        ready,
        workersWithMetrics: workers.length,
        queuedPrefillTokens: total(workers, 'queuedPrefillTokens'),
        queuedRequests: total(workers, 'queuedRequests'),
        decodeRequests: total(workers, 'decodeRequests'),
        kvTokens: total(workers, 'kvTokens'),
      },
    ]),
  );
}

/**
 * A decision as one line of JSON, without a line feed.
 *
 * @param isFull whether the line has the metrics of each worker, from which `decide` reaches the same decision again
 */
export function decisionLine(record: DecisionRecord, isFull = false): string {
  const { snapshot, ...rest } = record;
  const inputs = isFull ? snapshot : { nowMs: snapshot.nowMs, pools: summaryOf(snapshot), traffic: snapshot.traffic };
  return JSON.stringify({ schema: 'dynamo.planner.decision/v1', ...rest, snapshot: inputs });
}
