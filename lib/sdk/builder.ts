import { checkFunction } from '../check.js';
import type { RequestContext } from '../runtime/context.js';
import { defineEndpoint, type EndpointDefinition, type EndpointOptions } from './endpoint-definition.js';
import type { Schema } from './schema.js';
import {
  type ClientsOf,
  checkDependencies,
  type Dependencies,
  type HookKind,
  Service,
  type ServiceLike,
  serviceOf,
} from './service.js';
import type { ServiceContext } from './service-context.js';
import type { ServiceOptions } from './service-options.js';

/** What the functions of a built service get beside the request. */
export interface BuiltContext<Deps, Config, State> extends ServiceContext<Config> {
  /** The clients of its dependencies. */
  readonly deps: ClientsOf<Deps>;
  /** What `setup` returned. */
  readonly state: State;
}

/** The options of `defineService`. */
export interface BuildOptions<Deps extends Dependencies, Config, State>
  extends Omit<ServiceOptions, 'name' | 'config'> {
  /** Made by `depends`, by the name under which the functions get the clients. */
  readonly deps?: Deps;
  readonly config?: Schema<unknown, Config>;
  /** Makes what all functions share, once per worker. */
  readonly setup?: (context: Omit<BuiltContext<Deps, Config, never>, 'state'>) => State | Promise<State>;
  readonly implements?: readonly ServiceLike[];
}

/** @inline */
type HandlerOf<Request, Result, Deps, Config, State> = (
  request: Request,
  service: BuiltContext<Deps, Config, State>,
  context: RequestContext,
) => Result;

/** @inline */
type HookOf<Deps, Config, State> = (service: BuiltContext<Deps, Config, State>) => unknown;

interface BuildParts {
  readonly options: ServiceOptions & { readonly name: string };
  readonly deps: Dependencies;
  readonly interfaces: readonly Service[];
  readonly setup: ((context: never) => unknown) | undefined;
  readonly endpoints: readonly EndpointDefinition[];
  readonly hooks: Service['hooks'];
}

/**
 * A service that is built without a class. Each call returns a new service; the one that it was called on stays as it
 * is.
 */
export class ServiceBuilder<Methods, Deps extends Dependencies, Config, State> extends Service<Methods> {
  readonly #parts: BuildParts;

  /** @internal */
  constructor(parts: BuildParts) {
    const { options, deps, interfaces, setup, endpoints, hooks } = parts;
    const create = async (context: ServiceContext): Promise<unknown> => {
      const built = { ...context, deps: context.clients };
      return { ...built, state: await setup?.(built as never) };
    };
    super(`defineService ${options.name}`, options, {
      program: { kind: 'code', create },
      endpoints,
      hooks,
      dependencies: deps,
      interfaces,
    });
    this.#parts = parts;
  }

  /**
   * Adds an endpoint. A generator answers with a stream, any other function with one value.
   *
   * @throws TypeError, RangeError for a wrong option or a name that is taken
   */
  endpoint<Name extends string, Input, Output, Result>(
    name: Name,
    options: EndpointOptions<Input, Output>,
    handler: HandlerOf<Output, Result, Deps, Config, State>,
  ): ServiceBuilder<Methods & { [Key in Name]: (request: Input) => Result }, Deps, Config, State>;
  /** The same without options: the handler says what it accepts. */
  endpoint<Name extends string, Request, Result>(
    name: Name,
    handler: HandlerOf<Request, Result, Deps, Config, State>,
  ): ServiceBuilder<Methods & { [Key in Name]: (request: Request) => Result }, Deps, Config, State>;
  endpoint(
    name: string,
    ...[first, second]: [EndpointOptions | HandlerOf<never, unknown, Deps, Config, State>, unknown?]
  ): unknown {
    const path = `defineService ${this.name}.endpoint ${name}`;
    const [options, handler] = typeof first === 'function' ? [{}, first] : [first, second];
    checkFunction(path, handler);
    const run = handler as (request: unknown, service: unknown, context: RequestContext) => unknown;
    const call: EndpointDefinition['call'] = (self, request, _, context) => run(request, self, context);
    const endpoints = [...this.#parts.endpoints, defineEndpoint(path, name, options, handler, call)];
    return new ServiceBuilder({ ...this.#parts, endpoints });
  }

  /** Runs a function before the endpoints are served. Several run in the order of the calls. */
  onStart(hook: HookOf<Deps, Config, State>): ServiceBuilder<Methods, Deps, Config, State> {
    return this.#withHook('start', hook);
  }

  /** Runs a function when the service ends, after its last request. */
  onShutdown(hook: HookOf<Deps, Config, State>): ServiceBuilder<Methods, Deps, Config, State> {
    return this.#withHook('shutdown', hook);
  }

  /** The service is alive while the function returns true. It is restarted if not. */
  liveness(hook: HookOf<Deps, Config, State>): ServiceBuilder<Methods, Deps, Config, State> {
    return this.#withHook('liveness', hook);
  }

  /** The service is ready for requests while the function returns true. */
  readiness(hook: HookOf<Deps, Config, State>): ServiceBuilder<Methods, Deps, Config, State> {
    return this.#withHook('readiness', hook);
  }

  #withHook(kind: HookKind, hook: HookOf<Deps, Config, State>): ServiceBuilder<Methods, Deps, Config, State> {
    checkFunction(`defineService ${this.name} ${kind} hook`, hook);
    const call = (self: unknown): unknown => hook(self as BuiltContext<Deps, Config, State>);
    return new ServiceBuilder({ ...this.#parts, hooks: [...this.#parts.hooks, { kind, name: hook.name, call }] });
  }
}

/**
 * A service without a class and without decorators, for tools that do not know them.
 *
 * @throws TypeError, RangeError for a wrong option
 *
 * @example
 * import { defineService, depends } from 'dynamo-node/sdk';
 *
 * const Worker = defineService('Worker').endpoint('generate', async function* (text: string) {
 *   yield* text.split(' ');
 * });
 *
 * const Frontend = defineService('Frontend', { deps: { worker: depends(Worker) } }).endpoint(
 *   'generate',
 *   async function* (text: string, { deps }) {
 *     for await (const word of deps.worker.generate(text)) yield word.toUpperCase();
 *   },
 * );
 */
export function defineService<
  Deps extends Dependencies = Record<never, never>,
  Config = Readonly<Record<string, unknown>>,
  State = undefined,
>(
  name: string,
  options: BuildOptions<Deps, Config, State> = {},
): ServiceBuilder<Record<never, never>, Deps, Config, State> {
  const { deps = {} as Deps, setup, implements: interfaces = [], ...rest } = options;
  const path = `defineService ${name}`;
  if (setup !== undefined) checkFunction(`${path} options.setup`, setup);
  checkDependencies(`${path} options.deps`, deps);
  return new ServiceBuilder({
    options: { name, ...rest } as ServiceOptions & { readonly name: string },
    deps,
    setup: setup as BuildParts['setup'],
    interfaces: interfaces.map((one) => serviceOf(`${path} options.implements`, one)),
    endpoints: [],
    hooks: [],
  });
}
