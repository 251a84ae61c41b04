import { join } from 'node:path';
import { control, recallRequest } from '../deploy/local/control.js';
import { isRunning } from '../deploy/local/process-id.js';
import { DECISIONS, type PlacedGraph, placedGraph, type RunState } from '../deploy/local/run-folder.js';
import type { RecalledPhases, WorkerMetrics } from '../deploy/local/worker-messages.js';
import { hasFrontendMetrics } from '../sdk/graph-spec.js';
import type { LogSource } from './backend.js';
import { rateOf } from './counters.js';
import { DecisionFile } from './decision-file.js';
import type { InstanceFigures } from './inputs.js';
import { LogTail } from './log-tail.js';
import type { DecisionView, TransferView } from './view.js';

const TIMEOUT_MS = 5000;
const MS_PER_SECOND = 1000;
/** What moves blocks between workers of this package; a worker does not report which backend it uses. */
const TRANSPORT = 'NIXL';

/** A graph of this machine as its supervisor describes it. */
export interface LocalReading {
  readonly run: RunState;
  readonly isGone: boolean;
  /** By the name of the worker, such as `Worker#0`. */
  readonly figures: ReadonlyMap<string, InstanceFigures>;
  /** URLs of its frontends. */
  readonly frontends: readonly string[];
  readonly decisions: readonly DecisionView[];
}

/** Reads a graph that `dynamo serve` runs on this machine: state, metrics, decisions and logs. */
export class LocalSource {
  readonly #socket: string;
  readonly #decisions: DecisionFile;
  /** By the name of the worker, as of the last reading. */
  #measured: ReadonlyMap<string, WorkerMetrics> = new Map();
  #measuredMs = 0;
  #run: RunState;
  #placed: PlacedGraph | undefined;
  #isGone = false;

  /** @param folder the run folder */
  constructor(folder: string, state: RunState) {
    this.#socket = join(folder, 'control.sock');
    this.#decisions = new DecisionFile(join(folder, DECISIONS));
    this.#run = state;
    this.#placed = placedGraph(folder);
  }

  /** The graph with its configuration. Undefined if another version of this package runs it. */
  get placed(): PlacedGraph | undefined {
    return this.#placed;
  }

  get run(): RunState {
    return this.#run;
  }

  /** @throws DeployError if the supervisor does not answer, although it runs */
  async read(): Promise<LocalReading> {
    try {
      const request = { command: 'status', measure: true } as const;
      this.#run = await inTime((signal) => control(this.#socket, request, signal));
    } catch (error) {
      // The last state of a graph that has ended stays on the page.
      this.#isGone = !isRunning(this.#run.supervisor);
      if (!this.#isGone) throw error;
    }
    return {
      run: this.#run,
      isGone: this.#isGone,
      figures: this.#isGone ? new Map() : this.#figures(),
      frontends: this.#isGone ? [] : this.#frontends(),
      decisions: await this.#decisions.read(),
    };
  }

  /** What the workers know of a request. */
  recall(requestId: string): Promise<readonly RecalledPhases[]> {
    return recallRequest(this.#socket, requestId, AbortSignal.timeout(TIMEOUT_MS));
  }

  /** Changes a number of workers, and waits for the change. @throws DeployError */
  async scale(service: string, workers: number): Promise<void> {
    await control(this.#socket, { command: 'scale', words: [`${service}=${workers}`] });
  }

  /** The output of a worker; undefined if the graph has no such worker. */
  logs(id: string, tail: number): LogSource | undefined {
    for (const { name, workers } of this.#run.services)
      for (const { number, log } of workers) if (`${name}#${number}` === id) return new LogTail(log, tail);
    return undefined;
  }

  #frontends(): string[] {
    const names = new Set(this.#placed?.spec.services.filter(hasFrontendMetrics).map(({ name }) => name));
    const workers = this.#run.services.filter(({ name }) => names.has(name)).flatMap((one) => one.workers);
    return workers.flatMap(({ url }) => url ?? []);
  }

  #figures(): Map<string, InstanceFigures> {
    const nowMs = performance.now();
    const seconds = (nowMs - this.#measuredMs) / MS_PER_SECOND;
    const measured = new Map<string, WorkerMetrics>();
    const figures = new Map<string, InstanceFigures>();
    for (const { name, workers } of this.#run.services)
      for (const { number, metrics } of workers) {
        if (metrics === undefined) continue;
        const id = `${name}#${number}`;
        measured.set(id, metrics);
        figures.set(id, figuresOf(metrics, this.#measured.get(id), seconds));
      }
    this.#measured = measured;
    this.#measuredMs = nowMs;
    return figures;
  }
}

/** Calls with a signal. That of `AbortSignal.timeout` would abort, and make an error, also after the answer. */
async function inTime<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const abort = (): void => late.abort(new Error(`it did not answer within ${TIMEOUT_MS} ms`));
  const timer = setTimeout(abort, TIMEOUT_MS);
  try {
    return await call(late.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** @param before the metrics `seconds` ago */
function figuresOf(metrics: WorkerMetrics, before: WorkerMetrics | undefined, seconds: number): InstanceFigures {
  const { kvTotalBlocks, kvUsage, kvHitRate, outputTokens } = metrics;
  const hasBlocks = kvTotalBlocks > 0 && kvUsage !== undefined;
  return {
    flow: {
      requestsPerSecond: rateOf(before?.requests, metrics.requests, seconds),
      running: metrics.requestsInFlight,
      outputTokensPerSecond: outputTokens === 0 ? undefined : rateOf(before?.outputTokens, outputTokens, seconds),
    },
    kv: {
      usage: kvUsage,
      hitRate: kvHitRate,
      totalBlocks: hasBlocks ? kvTotalBlocks : undefined,
      usedBlocks: hasBlocks ? Math.round(kvTotalBlocks * kvUsage) : undefined,
    },
    transfers: transfersOf(metrics, before, seconds),
  };
}

function transfersOf(
  metrics: WorkerMetrics,
  before: WorkerMetrics | undefined,
  secondsBetween: number,
): TransferView | undefined {
  const { transfers: count, transferFailures: failures, transferBytes: bytes, transferSeconds: seconds } = metrics;
  if (count === 0 && failures === 0) return undefined;
  return {
    count,
    failures,
    bytes,
    bytesPerSecond: rateOf(before?.transferBytes, bytes, secondsBetween) ?? 0,
    meanMs: seconds > 0 ? (seconds / count) * MS_PER_SECOND : undefined,
    bandwidth: seconds > 0 ? bytes / seconds : undefined,
    transport: TRANSPORT,
  };
}
