import { type Awaitable, checkObject } from '../check.js';
import { badArgument, ClosedError } from '../errors.js';
import type { LLMEngine } from '../llm/engine.js';
import { SERVE_ENGINE_OPTIONS, type ServedEngine, type ServeEngineOptions, serveEngine } from '../llm/worker.js';
import { callback, custom, nested, type OptionTable, oneOf, optionTable } from '../options.js';
import { type CloseOptions, closeOptions } from '../runtime/close-options.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { parseEndpointPath } from '../runtime/endpoint-path.js';

/** The part of a request that a worker of a disaggregated deployment does. */
export type DisaggregatedRole = 'prefill' | 'decode';

/** How a `RoleWorker` does one of its roles. */
export interface RoleOptions {
  /** The endpoint of the role's workers, `namespace.component.endpoint`. The two roles need different ones. */
  readonly endpoint: string;
  /**
   * Creates the engine, each time that the worker gets the role. `runtime` is that of the role: it is closed after the
   * engine's `cleanup`. The engines of both roles may share what is slow to load.
   */
  readonly engine: (runtime: DistributedRuntime) => Awaitable<LLMEngine>;
  /** How the engine is served. The role is its worker type. */
  readonly serve?: Omit<ServeEngineOptions, 'workerType'>;
}

/** The roles of a `RoleWorker`. */
export interface RoleWorkerOptions {
  /** The first role. */
  readonly role: DisaggregatedRole;
  readonly prefill: RoleOptions;
  readonly decode: RoleOptions;
}

const ROLE_OPTIONS: OptionTable<RoleOptions> = optionTable<RoleOptions>({
  endpoint: custom<string>('namespace.component.endpoint', parseEndpointPath, 'text')
    .required()
    .about("The endpoint of the role's workers, `namespace.component.endpoint`."),
  engine: callback<RoleOptions['engine']>().required().about('Creates the engine of the role.'),
  serve: custom<NonNullable<RoleOptions['serve']>>('an object', (path, serve) => {
    checkObject(path, serve);
    if ('workerType' in serve)
      throw badArgument(new TypeError(`${path}.workerType: expected none, because the role is the worker type`));
    SERVE_ENGINE_OPTIONS.check(path, serve);
  }).about('How the engine is served.'),
});

const roleRow = oneOf('prefill', 'decode');

const ROLE_WORKER_OPTIONS: OptionTable<RoleWorkerOptions> = optionTable<RoleWorkerOptions>({
  role: roleRow.required().about('The first role.'),
  prefill: nested(ROLE_OPTIONS).required().about('How it prefills.'),
  decode: nested(ROLE_OPTIONS).required().about('How it decodes.'),
});

const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(0);

/** The worker in its present role. */
interface Present {
  readonly role: DisaggregatedRole;
  readonly runtime: DistributedRuntime;
  readonly worker: ServedEngine;
}

/**
 * A worker of a disaggregated deployment that changes between prefill and decode while it runs. It has one role at a
 * time, and is a new instance after each change.
 *
 * A change drains the worker as `ServedEngine.close` does: it leaves discovery and completes its requests. As a prefill
 * worker it waits until no decode worker reads its blocks. Then it starts in the other role. No request fails if
 * another worker of the old role remains, and frontends know it and have a `migrationLimit` of at least 1. Without such
 * a worker, frontends answer with status 503.
 *
 * @example
 * import { RoleWorker, type RoleOptions } from 'dynamo-node/disagg';
 *
 * async function run(prefill: RoleOptions, decode: RoleOptions): Promise<void> {
 *   await using worker = await RoleWorker.start({}, { role: 'prefill', prefill, decode });
 *   await worker.changeRole('decode');
 * }
 */
export class RoleWorker implements AsyncDisposable {
  readonly #runtimeOptions: RuntimeOptions;
  readonly #options: RoleWorkerOptions;
  #present: Present | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor(runtimeOptions: RuntimeOptions, options: RoleWorkerOptions) {
    this.#runtimeOptions = runtimeOptions;
    this.#options = options;
  }

  /**
   * Starts a worker in its first role. `runtimeOptions` are those of the runtime of each role. Resolves when requests
   * can reach it.
   */
  static async start(runtimeOptions: RuntimeOptions, options: RoleWorkerOptions): Promise<RoleWorker> {
    const path = 'RoleWorker.start options';
    ROLE_WORKER_OPTIONS.check(path, options);
    if (options.prefill.endpoint === options.decode.endpoint)
      throw badArgument(
        new RangeError(`${path}.decode.endpoint: expected another one than that of prefill, got the same`),
      );
    const worker = new RoleWorker(runtimeOptions, options);
    await worker.#begin(options.role);
    return worker;
  }

  /** The present role. Undefined during a change, after a change that failed, and after the close. */
  get role(): DisaggregatedRole | undefined {
    return this.#present?.role;
  }

  /** The instance id in the present role. */
  get instanceId(): bigint | undefined {
    return this.#present?.runtime.instanceId;
  }

  /** Requests that run now. */
  get inFlight(): number {
    return this.#present?.worker.inFlight ?? 0;
  }

  /** The served engine of the present role. */
  get served(): ServedEngine | undefined {
    return this.#present?.worker;
  }

  /**
   * Drains the worker and starts it in another role. Resolves when requests can reach it there; without effect if it
   * has the role. Changes run one after the other. `timeoutMs` bounds how long the requests of the old role may still
   * run. If the start fails, the worker has no role, and a further call may try again.
   *
   * @throws TypeError, DynamoError `DYN_CLOSED` after `close`, and what the engine throws
   */
  changeRole(role: DisaggregatedRole, options: CloseOptions = {}): Promise<void> {
    const operation = 'roleWorker.changeRole';
    roleRow.check(`${operation} role`, role);
    CLOSE_OPTIONS.check(`${operation} options`, options);
    return this.#next(async () => {
      if (this.#closing !== undefined) throw new ClosedError('the worker', operation);
      if (this.#present?.role === role) return;
      await this.#end(options);
      await this.#begin(role);
    });
  }

  /** Drains the worker, and closes it. `timeoutMs` bounds how long requests may still run. Idempotent. */
  close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check('roleWorker.close options', options);
    this.#closing ??= this.#next(() => this.#end(options));
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #next(step: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(step);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #begin(role: DisaggregatedRole): Promise<void> {
    const { endpoint, engine, serve } = this.#options[role];
    // A runtime reserves the names of its endpoints for its whole life, so each role has its own.
    const runtime = await DistributedRuntime.create(this.#runtimeOptions);
    let worker: ServedEngine | undefined;
    try {
      worker = await serveEngine(runtime.endpoint(endpoint), await engine(runtime), { ...serve, workerType: role });
      await worker.ready;
      this.#present = { role, runtime, worker };
    } catch (error) {
      await worker?.close().catch(() => {});
      await runtime.close();
      throw error;
    }
  }

  async #end(options: CloseOptions): Promise<void> {
    const present = this.#present;
    this.#present = undefined;
    if (present === undefined) return;
    try {
      await present.worker.close(options);
    } finally {
      await present.runtime.close();
    }
  }
}
