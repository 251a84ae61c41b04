import { DynamoError } from '../../errors.js';
import type { RequestOptions } from '../../runtime/client-options.js';
import type { DistributedRuntime } from '../../runtime/distributed-runtime.js';
import type { Instance } from '../../runtime/instance.js';
import { ResponseStream } from '../../runtime/response.js';
import { isGeneration, type NamespaceScope } from '../namespace.js';
import type { ConnectedEndpoint } from './endpoint-calls.js';
import { streamOtherwise } from './value-source.js';

/** How often new generations are looked for. */
const INTERVAL_MS = 500;
/** After this time without an instance, the client of a generation is closed. */
const GONE_MS = 30_000;
const WAIT_INTERVAL_MS = 20;

interface Generation {
  readonly calls: ConnectedEndpoint;
  seenAt: number;
}

/**
 * The calls of an endpoint whose workers are in several namespaces, one for each generation of a rolling update. Each
 * call goes to a generation in proportion to its instances, and there to an instance by the mode of the dependency.
 */
export class Generations {
  readonly #byNamespace = new Map<string, Generation>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(
    private readonly runtime: DistributedRuntime,
    private readonly scope: Extract<NamespaceScope, { kind: 'prefix' }>,
    /** `component` and `endpoint`. */
    private readonly place: Pick<Instance, 'component' | 'endpoint'>,
    private readonly connect: (namespace: string) => Promise<ConnectedEndpoint>,
  ) {}

  static async create(
    runtime: DistributedRuntime,
    scope: Extract<NamespaceScope, { kind: 'prefix' }>,
    place: Pick<Instance, 'component' | 'endpoint'>,
    connect: (namespace: string) => Promise<ConnectedEndpoint>,
  ): Promise<Generations> {
    const generations = new Generations(runtime, scope, place, connect);
    await generations.#add(scope.prefix);
    await generations.#look();
    generations.#schedule();
    return generations;
  }

  call(request: unknown, options?: RequestOptions): unknown {
    const wanted = options?.instanceId;
    if (wanted !== undefined) return this.#having(wanted).call(request, options);
    const chosen = this.#choose();
    const answer = chosen.call(request, options);
    if (this.#byNamespace.size === 1) return answer;
    // The last worker of a generation may leave between the choice and the call.
    const otherwise = (error: unknown): unknown => {
      const other = DynamoError.is(error) && error.code === 'DYN_UNAVAILABLE' ? this.#choose(chosen) : chosen;
      return other === chosen || options?.signal?.aborted === true ? undefined : other.call(request, options);
    };
    if (answer instanceof ResponseStream)
      return streamOtherwise(answer, (error) => otherwise(error) as ResponseStream<unknown> | undefined);
    return (answer as Promise<unknown>).catch((error: unknown) => {
      const other = otherwise(error);
      if (other === undefined) throw error;
      return other;
    });
  }

  instances(): readonly Instance[] {
    return this.#all.flatMap(({ client }) => client.instances());
  }

  /** @throws Error after `timeoutMs` */
  async waitForInstances(options: { readonly count?: number; readonly timeoutMs?: number } = {}): Promise<unknown> {
    const { count = 1, timeoutMs = Number.POSITIVE_INFINITY } = options;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      await this.#look();
      const found = this.instances();
      if (found.length >= count) return found;
      // The client of one generation has the error of a wait that is too long.
      if (performance.now() >= deadline)
        return this.#choose().client.waitForInstances({ count: Math.max(1, count), timeoutMs: 1 });
      await new Promise((resolve) => setTimeout(resolve, WAIT_INTERVAL_MS));
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await Promise.all(this.#all.map((calls) => calls.close()));
  }

  get #all(): ConnectedEndpoint[] {
    return [...this.#byNamespace.values()].map(({ calls }) => calls);
  }

  #having(instanceId: bigint): ConnectedEndpoint {
    const has = ({ client }: ConnectedEndpoint) => client.instances().some((one) => one.instanceId === instanceId);
    return this.#all.find(has) ?? this.#choose();
  }

  /** @param except the result only if no other generation has an instance */
  #choose(except?: ConnectedEndpoint): ConnectedEndpoint {
    const all = this.#all.map((calls) => ({ calls, count: calls === except ? 0 : calls.client.instances().length }));
    let rest = Math.random() * all.reduce((sum, { count }) => sum + count, 0);
    for (const { calls, count } of all) {
      rest -= count;
      if (rest < 0) return calls;
    }
    return except ?? (all[0] as (typeof all)[number]).calls;
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      // A discovery that cannot be reached is asked again; calls go to the known generations.
      void this.#look()
        .catch(() => {})
        .then(() => {
          if (!this.#isClosed) this.#schedule();
        });
    }, INTERVAL_MS).unref();
  }

  async #add(namespace: string): Promise<void> {
    if (this.#byNamespace.has(namespace)) return;
    const calls = await this.connect(namespace);
    if (this.#isClosed || this.#byNamespace.has(namespace)) await calls.close();
    else this.#byNamespace.set(namespace, { calls, seenAt: performance.now() });
  }

  async #look(): Promise<void> {
    const { component, endpoint } = this.place;
    const isOurs = (one: Instance): boolean =>
      one.component === component && one.endpoint === endpoint && isGeneration(this.scope, one.namespace);
    const instances = (await this.runtime.instances()).filter(isOurs);
    const present = new Set(instances.map(({ namespace }) => namespace));
    for (const namespace of present) await this.#add(namespace);
    const now = performance.now();
    for (const [namespace, generation] of this.#byNamespace) {
      if (present.has(namespace) || namespace === this.scope.prefix) generation.seenAt = now;
      if (now - generation.seenAt < GONE_MS) continue;
      this.#byNamespace.delete(namespace);
      await generation.calls.close();
    }
  }
}
