import { join } from 'node:path';
import { control, recallRequest } from '../deploy/local/control.js';
import { isRunning } from '../deploy/local/process-id.js';
import { DECISIONS, type PlacedGraph, placedGraph, type RunState } from '../deploy/local/run-folder.js';
import type { RecalledPhases, WorkerMetrics } from '../deploy/local/worker-messages.js';
import type { LogSource } from './backend.js';
import { CounterGains } from './counters.js';
import { DecisionFile } from './decision-file.js';
import type { InstanceFigures } from './inputs.js';
import { LogTail } from './log-tail.js';
import type { DecisionView } from './view.js';

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
  readonly #gains = new CounterGains();
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
      this.#run = await control(this.#socket, request, AbortSignal.timeout(TIMEOUT_MS));
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
    const names = new Set(
      this.#placed?.spec.services.filter(({ role }) => role === 'frontend').map(({ name }) => name),
    );
    const workers = this.#run.services.filter(({ name }) => names.has(name)).flatMap((one) => one.workers);
    return workers.flatMap(({ url }) => url ?? []);
  }

  #figures(): Map<string, InstanceFigures> {
    this.#gains.begin(performance.now());
    const measured = this.#run.services.flatMap(({ name, workers }) =>
      workers.flatMap(({ number, metrics }) =>
        metrics === undefined ? [] : [[`${name}#${number}`, metrics] as const],
      ),
    );
    return new Map(measured.map(([id, metrics]) => [id, this.#figuresOf(id, metrics)]));
  }

  #figuresOf(id: string, metrics: WorkerMetrics): InstanceFigures {
    for (const name of ['requests', 'transferBytes', 'outputTokens'] as const)
      this.#gains.add(`${id} ${name}`, metrics[name]);
    const { kvTotalBlocks, kvUsage, kvHitRate } = metrics;
    const outputTokensPerSecond = metrics.outputTokens === 0 ? undefined : this.#gains.rate(`${id} outputTokens`);
    return {
      flow: {
        requestsPerSecond: this.#gains.rate(`${id} requests`),
        running: metrics.requestsInFlight,
        outputTokensPerSecond,
      },
      kv: {
        usage: kvUsage,
        hitRate: kvHitRate,
        ...(kvTotalBlocks > 0 && kvUsage !== undefined
          ? { totalBlocks: kvTotalBlocks, usedBlocks: Math.round(kvTotalBlocks * kvUsage) }
          : {}),
      },
      ...this.#transfersOf(id, metrics),
    };
  }

  #transfersOf(id: string, metrics: WorkerMetrics): Pick<InstanceFigures, 'transfers'> {
    const { transfers: count, transferFailures: failures, transferBytes: bytes, transferSeconds: seconds } = metrics;
    if (count === 0 && failures === 0) return {};
    return {
      transfers: {
        count,
        failures,
        bytes,
        bytesPerSecond: this.#gains.rate(`${id} transferBytes`) ?? 0,
        transport: TRANSPORT,
        ...(seconds > 0 ? { meanMs: (seconds / count) * MS_PER_SECOND, bandwidth: bytes / seconds } : {}),
      },
    };
  }
}
