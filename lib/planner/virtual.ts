import { setTimeout as sleep } from 'node:timers/promises';
import { type Awaitable, checkName, checkObject } from '../check.js';
import { DynamoError } from '../errors.js';
import { callback, custom, integer, listOf, milliseconds, type OptionTable, optionTable, text } from '../options.js';
import type { PoolRole, Targets } from './core/types.js';
import { EtcdKeys } from './etcd.js';
import type { PoolCounts, PortOptions, Scaler } from './scaler.js';

/** Where the decisions of a namespace are. */
export interface VirtualOptions {
  /** The Dynamo namespace of the workers. */
  readonly namespace: string;
  /** URLs of etcd. @default `$ETCD_ENDPOINTS`, or `http://localhost:2379` */
  readonly endpoints?: readonly string[];
  /** Written keys vanish this long after their writer. @default 10 */
  readonly leaseTtlSeconds?: number;
}

/** Options of a planner's side. */
export interface VirtualScalerOptions extends VirtualOptions {
  /** The ready workers of each role, such as the instances in discovery. */
  readonly ready: (options: PortOptions) => Awaitable<Readonly<Partial<Record<PoolRole, number>>>>;
  /**
   * A decision, of any planner, that this one has seen for so long and that is not completed may be replaced.
   *
   * @default 1800000
   */
  readonly maxWaitMs?: number;
}

/** Options of a supervisor's side. */
export interface VirtualClientOptions extends VirtualOptions {
  /** The time between two looks for a decision. @default 1000 */
  readonly pollMs?: number;
}

const namespaceName = custom<string>('a name of a-z, 0-9, - and _', checkName, 'text').required();

const ROWS = {
  namespace: namespaceName,
  endpoints: listOf(text, 'URLs').env('ETCD_ENDPOINTS').about('URLs of etcd.'),
  leaseTtlSeconds: integer(1, 3600).about('Written keys vanish this long after their writer.'),
};

const SCALER_OPTIONS: OptionTable<VirtualScalerOptions> = optionTable<VirtualScalerOptions>({
  ...ROWS,
  ready: callback<VirtualScalerOptions['ready']>().required(),
  maxWaitMs: milliseconds(1).about('A decision that is not completed after this time may be replaced.'),
});

const CLIENT_OPTIONS: OptionTable<VirtualClientOptions> = optionTable<VirtualClientOptions>({
  ...ROWS,
  pollMs: milliseconds(10).about('The time between two looks for a decision.'),
});

/** The numbers in etcd; undefined if a key is absent. Source: the planner of Dynamo 1.6.1. */
interface Decided {
  readonly prefill: number | undefined;
  readonly decode: number | undefined;
  readonly id: number | undefined;
  readonly completedId: number | undefined;
}

const NAMES = {
  prefill: 'num_prefill_workers',
  decode: 'num_decode_workers',
  id: 'decision_id',
  completedId: 'scaled_decision_id',
} as const;

const DEFAULT_LEASE_SECONDS = 10;

/** The keys of a namespace. */
class DecisionKeys {
  readonly keys: EtcdKeys;
  readonly prefix: string;

  constructor({ namespace, endpoints, leaseTtlSeconds = DEFAULT_LEASE_SECONDS }: VirtualOptions) {
    const urls = endpoints ?? (process.env['ETCD_ENDPOINTS'] ?? 'http://localhost:2379').split(',');
    this.keys = new EtcdKeys(urls, leaseTtlSeconds);
    this.prefix = `v1/${namespace}/planner/`;
  }

  async read(signal?: AbortSignal): Promise<Decided> {
    const values = await this.keys.read(this.prefix, signal);
    const number = (name: string): number | undefined => {
      const value = values[name];
      return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
    };
    return {
      prefill: number(NAMES.prefill),
      decode: number(NAMES.decode),
      id: number(NAMES.id),
      completedId: number(NAMES.completedId),
    };
  }

  name(key: keyof typeof NAMES): string {
    return this.prefix + NAMES[key];
  }
}

const isCompleted = ({ id, completedId }: Decided): boolean => id === undefined || (completedId ?? -1) >= id;

/**
 * Scales workers that another program starts and stops: it publishes decisions in etcd, as the virtual connector of
 * Dynamo's Python planner does. `VirtualConnectorClient` of the wheel, or `VirtualClient`, carries them out.
 * Aggregated workers are published as decode workers.
 */
export class VirtualScaler implements Scaler, AsyncDisposable {
  readonly #keys: DecisionKeys;
  readonly #ready: VirtualScalerOptions['ready'];
  readonly #maxWaitMs: number;
  /** The last decision that was seen, of any planner, and since when. */
  #seen: { readonly id: number | undefined; readonly sinceMs: number } | undefined;

  /** @throws TypeError, RangeError for faulty options */
  constructor(options: VirtualScalerOptions) {
    SCALER_OPTIONS.check('VirtualScaler options', options);
    this.#keys = new DecisionKeys(options);
    this.#ready = options.ready;
    this.#maxWaitMs = options.maxWaitMs ?? 1_800_000;
  }

  /** The published counts; those that are ready before the first decision. */
  async current(options: PortOptions): Promise<Readonly<Partial<Record<PoolRole, PoolCounts>>>> {
    const [decided, ready] = await Promise.all([this.#keys.read(options.signal), this.#ready(options)]);
    checkObject('ready', ready);
    return Object.fromEntries(
      Object.entries(ready).map(([role, count]) => [role, { desired: decided[keyOf(role)] ?? count, ready: count }]),
    );
  }

  /**
   * Publishes a decision.
   *
   * @throws DynamoError `DYN_CONFLICT` while the last decision, of any planner, is not carried out and was first seen
   * less than `maxWaitMs` ago, or if another planner has decided
   */
  async scale(targets: Targets, { signal }: Partial<PortOptions> = {}): Promise<void> {
    const decided = await this.#keys.read(signal);
    if (this.#seen?.id !== decided.id) this.#see(decided.id);
    if (!isCompleted(decided) && performance.now() - (this.#seen?.sinceMs ?? 0) < this.#maxWaitMs)
      throw new DynamoError('Conflict', `decision ${decided.id} is not carried out yet`, { operation: 'scale' });
    const { id, completedId } = decided;
    // The decisions of a planner that has ended are gone, but the last one may still be reported as completed.
    const next = Math.max(id ?? -1, completedId ?? -1) + 1;
    const values: Record<string, string> = { [this.#keys.name('id')]: String(next) };
    for (const [role, count] of Object.entries(targets)) values[this.#keys.name(keyOf(role))] = String(count);
    const expected = { [this.#keys.name('id')]: id === undefined ? undefined : String(id) };
    if (!(await this.#keys.keys.write(values, expected, signal)))
      throw new DynamoError('Conflict', 'another planner has published a decision', { operation: 'scale' });
    this.#see(next);
  }

  #see(id: number | undefined): void {
    this.#seen = { id, sinceMs: performance.now() };
  }

  /** Withdraws what was published. Idempotent. */
  close(): Promise<void> {
    return this.#keys.keys.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const keyOf = (role: string): 'prefill' | 'decode' => (role === 'prefill' ? 'prefill' : 'decode');

/** A decision of a planner. A count that is absent stays as it is. */
export interface VirtualDecision {
  readonly id: number;
  readonly prefill?: number;
  readonly decode?: number;
}

/** Receives decisions of a planner, in Python or TypeScript, for a program that starts and stops workers. */
export class VirtualClient implements AsyncDisposable {
  readonly #keys: DecisionKeys;
  readonly #pollMs: number;

  /** @throws TypeError, RangeError for faulty options */
  constructor(options: VirtualClientOptions) {
    CLIENT_OPTIONS.check('VirtualClient options', options);
    this.#keys = new DecisionKeys(options);
    this.#pollMs = options.pollMs ?? 1000;
  }

  /** The last decision, if it is not completed. */
  async get(signal?: AbortSignal): Promise<VirtualDecision | undefined> {
    const decided = await this.#keys.read(signal);
    const { id, prefill, decode } = decided;
    if (id === undefined || isCompleted(decided)) return undefined;
    return { id, ...(prefill === undefined ? {} : { prefill }), ...(decode === undefined ? {} : { decode }) };
  }

  /** Waits for a decision that is not completed. Rejects with the reason of the signal if that aborts. */
  async next(signal?: AbortSignal): Promise<VirtualDecision> {
    for (;;) {
      const decision = await this.get(signal);
      if (decision !== undefined) return decision;
      await sleep(this.#pollMs, undefined, signal === undefined ? {} : { signal });
    }
  }

  /** Reports that a decision is carried out, so that the planner may make the next one. */
  async complete({ id }: VirtualDecision, signal?: AbortSignal): Promise<void> {
    await this.#keys.keys.write({ [this.#keys.name('completedId')]: String(id) }, {}, signal);
  }

  /** Withdraws what was reported. Idempotent. */
  close(): Promise<void> {
    return this.#keys.keys.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
