import { guarded, reasonOf } from '../addon/callback.js';
import { type Awaitable, checkInteger, checkObject } from '../check.js';
import {
  anything,
  boolean,
  callback,
  custom,
  milliseconds,
  nested,
  type OptionTable,
  optionTable,
} from '../options.js';
import { PLANNER_CONFIG, type PlannerConfig, type ResolvedPlan, resolvePlan } from './core/config.js';
import { decided, initialState } from './core/decide.js';
import type { Decision, PlannerState, PoolRole, PoolSnapshot, Snapshot, Targets } from './core/types.js';
import type { DecisionOutcome, DecisionRecord } from './decision-log.js';
import type { Observation, Observer, PoolCounts, PortOptions, Scaler } from './scaler.js';

/** A planner: where it reads, what it scales, and how it decides. */
export interface PlannerOptions {
  readonly observer: Observer;
  readonly scaler: Scaler;
  /** @default {} */
  readonly config?: PlannerConfig;
  /** Decides but does not scale. @default false */
  readonly advisory?: boolean;
  /** How long a call of the observer or the scaler may take. @default 10000 */
  readonly timeoutMs?: number;
  /** The `state` of an earlier planner, to continue with what it learned. It is JSON. @default none */
  readonly state?: PlannerState;
  /** Receives each decision. `decisionLine` makes a line of JSON of it. */
  readonly onDecision?: (record: DecisionRecord) => unknown;
}

/** An object with these methods. */
const portOf = <Port extends object>(...methods: readonly string[]) =>
  custom<Port>(`an object with ${methods.join(' and ')}`, (path, value) => {
    checkObject(path, value);
    const port = value as Record<string, unknown>;
    for (const method of methods)
      if (typeof port[method] !== 'function') callback().check(`${path}.${method}`, port[method]);
  });

/** The table of the options. */
export const PLANNER_OPTIONS: OptionTable<PlannerOptions> = optionTable<PlannerOptions>({
  observer: portOf<Observer>('observe').required(),
  scaler: portOf<Scaler>('current', 'scale').required(),
  config: nested(PLANNER_CONFIG),
  advisory: boolean.about('Decides but does not scale.'),
  timeoutMs: milliseconds(1).about('How long a call of the observer or the scaler may take.'),
  state: anything as never,
  onDecision: callback<(record: DecisionRecord) => unknown>().about('Receives each decision.'),
});

const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * Scales the workers of a graph with its load. It is the only part of the planner with a clock: at each tick it reads
 * the metrics and the counts, calls `decide`, and sets the counts. A failure of a port never ends it; the next tick
 * tries again, and without metrics or counts nothing is removed.
 *
 * @example
 * import { type Observer, Planner, type Scaler } from 'dynamo-node/planner';
 *
 * function plan(observer: Observer, scaler: Scaler) {
 *   return Planner.start({ observer, scaler, config: { mode: 'disagg', sla: { ttftMs: 2000 } } });
 * }
 */
export class Planner implements AsyncDisposable {
  readonly #options: PlannerOptions;
  readonly #plan: ResolvedPlan;
  readonly #timeoutMs: number;
  readonly #report: (record: DecisionRecord) => void;
  readonly #closed = new AbortController();
  #state: PlannerState;
  #ticks = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: PlannerOptions) {
    this.#options = options;
    const { config = {}, timeoutMs = DEFAULT_TIMEOUT_MS, onDecision = () => {}, state } = options;
    this.#plan = resolvePlan(config);
    this.#timeoutMs = timeoutMs;
    this.#report = guarded('the callback onDecision of the planner', onDecision);
    this.#state = state ?? initialState(config, performance.now());
    this.#schedule(0);
  }

  /**
   * Starts a planner. Its first decision follows at once.
   *
   * @throws TypeError, RangeError for faulty options
   */
  static start(options: PlannerOptions): Planner {
    PLANNER_OPTIONS.check('Planner.start options', options);
    return new Planner(options);
  }

  /** What the planner has learned, as JSON for the option `state` of its successor. */
  get state(): PlannerState {
    return this.#state;
  }

  /** Ends the planner. The counts of workers remain as they are. A call that is in flight is aborted. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#closed.abort(new Error('the planner was closed'));
    await this.#running;
  }

  #schedule(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#running = this.#tick().then((nextTickMs) => {
        if (!this.#closed.signal.aborted) this.#schedule(Math.max(0, nextTickMs - performance.now()));
      });
    }, delayMs);
  }

  /** One decision. Returns when the next one is due. Never rejects. */
  async #tick(): Promise<number> {
    const startedMs = performance.now();
    const errors: string[] = [];
    const attempt = async <T>(what: string, call: (options: PortOptions) => Awaitable<T>): Promise<T | undefined> => {
      try {
        return await this.#bounded(what, call);
      } catch (error) {
        errors.push(`${what}: ${reasonOf(error)}`);
        return undefined;
      }
    };
    const { observer, scaler } = this.#options;
    const [observation, counts] = await Promise.all([
      attempt('observe', async (options) => checkedObservation(await observer.observe(options))),
      attempt('current', async (options) => checkedCounts(await scaler.current(options))),
    ]);
    if (this.#closed.signal.aborted) return startedMs;
    const snapshot = snapshotOf(observation, counts ?? {});
    const decision = this.#decide(snapshot, counts ?? {}, errors);
    const decideMs = performance.now() - snapshot.nowMs;
    this.#state = decision.state;
    const outcome = await this.#apply(decision, snapshot, attempt);
    const { targets, reasons, nextTickMs } = decision;
    const record = { snapshot, targets, reasons, outcome, errors, decideMs };
    this.#report({ tick: ++this.#ticks, atMs: Date.now(), ...record });
    return nextTickMs;
  }

  /**
   * A faulty observation counts as none, and a faulty state as that of a new planner. A decision that fails must not
   * end the process.
   */
  #decide(snapshot: Snapshot, counts: Counts, errors: string[]): Decision {
    try {
      return decided(snapshot, this.#state, this.#plan);
    } catch (error) {
      errors.push(`decide: ${reasonOf(error)}`);
    }
    const bare = snapshotOf(undefined, counts);
    try {
      return decided(bare, this.#state, this.#plan);
    } catch {
      return decided(bare, initialState(this.#options.config ?? {}, bare.nowMs), this.#plan);
    }
  }

  async #apply(
    { targets }: Decision,
    { pools }: Snapshot,
    attempt: (what: string, call: (options: PortOptions) => Promise<true>) => Promise<true | undefined>,
  ): Promise<DecisionOutcome> {
    const changed = Object.entries(targets).filter(([role, target]) => target !== pools[role as PoolRole]?.desired);
    if (changed.length === 0) return 'unchanged';
    if (this.#options.advisory === true) return 'advisory';
    const wanted: Targets = Object.fromEntries(changed);
    const isDone = await attempt('scale', async (options) => {
      await this.#options.scaler.scale(wanted, options);
      return true;
    });
    return isDone === true ? 'scaled' : 'failed';
  }

  /** Calls a port. Rejects when its time is over, even if the port ignores the signal. */
  async #bounded<T>(what: string, call: (options: PortOptions) => Awaitable<T>): Promise<T> {
    const late = AbortSignal.timeout(this.#timeoutMs);
    const signal = AbortSignal.any([late, this.#closed.signal]);
    let stop = (): void => {};
    const aborted = new Promise<never>((_, reject) => {
      stop = () =>
        reject(late.aborted ? new Error(`${what} has not answered within ${this.#timeoutMs} ms`) : signal.reason);
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
    try {
      return await Promise.race([call({ signal }), aborted]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }
}

type Counts = Readonly<Partial<Record<PoolRole, PoolCounts>>>;

function checkedCounts(counts: Counts): Counts {
  checkObject('counts', counts);
  for (const [role, pool] of Object.entries(counts)) {
    checkObject(`counts.${role}`, pool);
    checkInteger(`counts.${role}.desired`, pool.desired, 0);
    checkInteger(`counts.${role}.ready`, pool.ready, 0);
  }
  return counts;
}

function checkedObservation(observation: Observation): Observation {
  checkObject('observation', observation);
  checkObject('observation.workers', observation.workers);
  return observation;
}

/** Joins both sources. A role without counts is not decided. */
function snapshotOf(observation: Observation | undefined, counts: Counts): Snapshot {
  const pools = Object.entries(counts).map(([role, { desired, ready }]): [string, PoolSnapshot] => [
    role,
    { desired, ready, workers: observation?.workers[role as PoolRole] ?? [] },
  ]);
  return {
    nowMs: performance.now(),
    pools: Object.fromEntries(pools),
    ...(observation?.traffic === undefined ? {} : { traffic: observation.traffic }),
  };
}
