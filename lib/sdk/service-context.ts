import type { DistributedRuntime } from '../runtime/distributed-runtime.js';

/** What a running service knows of itself. */
export interface ServiceContext<Config = unknown> {
  readonly service: string;
  readonly namespace: string;
  readonly component: string;
  /** The number of this worker among those of its service on this machine, from 0. */
  readonly worker: number;
  /** The service's configuration, after the check by its schema. */
  readonly config: Config;
  readonly runtime: DistributedRuntime;
  /** Aborted when the service has answered its last request, before its shutdown hooks run. */
  readonly signal: AbortSignal;
  /** The clients of its dependencies by their property. One that the graph does not link is missing. */
  readonly clients: Readonly<Record<string, unknown>>;
}

let current: ServiceContext | undefined;

/** Makes an instance of a service. Its fields and its constructor find `context`. */
export function constructWith<T>(context: ServiceContext, make: () => T): T {
  const outer = current;
  current = context;
  try {
    return make();
  } finally {
    current = outer;
  }
}

/** The context of the service that is being made, or undefined if its class was called by other code, as in a test. */
export function contextOfConstruction(): ServiceContext | undefined {
  return current;
}

/**
 * The context of the service whose constructor or field initializer calls it.
 *
 * @throws Error if no service is being made
 *
 * @example
 * import { service, serviceContext } from 'dynamo-node/sdk';
 *
 * @service({ name: 'Greeter' })
 * class Greeter {
 *   readonly #context = serviceContext<{ greeting: string }>();
 *   greet = () => this.#context.config.greeting;
 * }
 */
export function serviceContext<Config = unknown>(): ServiceContext<Config> {
  if (current === undefined)
    throw new Error('serviceContext: expected to be called while a service is made, by its constructor or its fields');
  return current as ServiceContext<Config>;
}
