import { checkObject, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { integer, type OptionTable, oneOf, optionTable } from '../options.js';
import type { RouterMode } from '../runtime/client-options.js';
import type { ClientOf } from './client.js';
import type { EndpointDefinition } from './endpoint-definition.js';
import type { ServiceProgram } from './program.js';
import { contextOfConstruction, type ServiceContext } from './service-context.js';
import { SERVICE_OPTIONS, type ServiceOptions, type ServiceRole } from './service-options.js';

/** When a hook runs: before the endpoints are served, at the end, or for a probe of the status server. */
export type HookKind = 'start' | 'shutdown' | 'liveness' | 'readiness';

/** A function of a service that its host calls. */
export interface Hook {
  readonly kind: HookKind;
  readonly name: string;
  /** Runs it. `self`: what the service's `create` returned. */
  readonly call: (self: unknown, service: ServiceContext) => unknown;
}

/** @inline */
// biome-ignore lint/suspicious/noExplicitAny: on a service of any methods.
type AnyDependency = Dependency<any>;

/** What `depends` returns, by the name that gets the client. */
export type Dependencies = Readonly<Record<string, AnyDependency>>;

/** The parts of a service besides its options. */
export interface ServiceParts {
  readonly program: ServiceProgram;
  readonly endpoints?: readonly EndpointDefinition[];
  /** By the property that holds the client. */
  readonly dependencies?: Dependencies;
  readonly hooks?: readonly Hook[];
  /** The abstract services that it fulfils. */
  readonly interfaces?: readonly Service[];
}

const DEFAULT_HTTP_PORT = 8000;

declare const methods: unique symbol;

/**
 * A service: endpoints of one component, and what they need. It is a value without any effect until a host runs it.
 *
 * `Methods` has the type of each endpoint. It determines the clients that other services get.
 */
// biome-ignore lint/suspicious/noExplicitAny: a service of any methods is a service.
export class Service<Methods = any> {
  declare readonly [methods]: Methods;
  readonly name: string;
  readonly namespace: string;
  readonly component: string;
  readonly role: ServiceRole;
  readonly workers: number;
  readonly program: ServiceProgram;
  readonly endpoints: readonly EndpointDefinition[];
  readonly hooks: readonly Hook[];
  readonly interfaces: readonly Service[];
  /** By the property that holds the client. */
  readonly dependencies: ReadonlyMap<string, AnyDependency>;

  /** @throws TypeError, RangeError for a wrong option, or for two endpoints with one name */
  constructor(
    path: string,
    readonly options: ServiceOptions & { readonly name: string },
    parts: ServiceParts,
  ) {
    SERVICE_OPTIONS.check(path, options);
    const { name, namespace = 'dynamo', component = name.toLowerCase(), role = 'worker', workers = 1 } = options;
    this.name = name;
    this.namespace = namespace;
    this.component = component;
    this.role = role;
    this.workers = workers;
    this.program = parts.program;
    this.endpoints = parts.endpoints ?? [];
    this.hooks = parts.hooks ?? [];
    this.interfaces = parts.interfaces ?? [];
    this.dependencies = new Map(Object.entries(parts.dependencies ?? {}));
    const names = this.endpoints.map((endpoint) => endpoint.name);
    const double = names.find((one, index) => names.indexOf(one) !== index);
    if (double !== undefined)
      throw badArgument(new TypeError(`${path}: expected endpoints with different names, got two named '${double}'`));
  }

  /** The port of its HTTP endpoints and probes, before that of a variable; undefined if it serves no HTTP. */
  get httpPort(): number | undefined {
    const hasHttp = this.endpoints.some(({ transports }) => transports.includes('http'));
    return this.options.httpPort ?? (hasHttp ? DEFAULT_HTTP_PORT : undefined);
  }

  get isAbstract(): boolean {
    return this.program.kind === 'abstract';
  }

  /** The names of endpoints that its interfaces have and it does not. */
  get missing(): readonly string[] {
    const own = this.endpoints.map(({ property }) => property);
    const wanted = this.interfaces.flatMap((one) => [...one.endpoints.map(({ property }) => property), ...one.missing]);
    return [...new Set(wanted)].filter((property) => !own.includes(property));
  }

  /** Whether it fulfils an abstract service, itself or through one of its interfaces. */
  fulfils(service: Service): boolean {
    return this === service || this.interfaces.some((one) => one.fulfils(service));
  }
}

/** A service, or its class. */
// biome-ignore lint/suspicious/noExplicitAny: a class with any constructor.
export type ServiceLike<Methods = unknown> = Service<Methods> | (abstract new (...args: any[]) => Methods);

/** A service, its class, or a function that returns one of them if it is only declared later. */
export type ServiceTarget<Methods> = ServiceLike<Methods> | (() => ServiceLike<Methods>);

const ofClass = new WeakMap<object, Service>();

/** Makes a class stand for a service. */
export function bindClass(type: object, service: Service): void {
  ofClass.set(type, service);
}

/** The service for which a class itself stands, not a parent of it. */
export const boundService = (type: unknown): Service | undefined =>
  typeof type === 'function' ? ofClass.get(type) : undefined;

/**
 * The service that a value stands for.
 *
 * @throws TypeError if it stands for none
 */
export function serviceOf(path: string, value: unknown): Service {
  if (value instanceof Service) return value;
  return boundService(value) ?? wrongType(path, 'a service, or a class with @service', value);
}

/** How an instance of a dependency is selected. `kv`: the one that has most blocks of the prompt. */
export type DependencyMode = RouterMode | 'kv';

/** @internal */
export const DEPENDENCY_MODES = [
  'round_robin',
  'random',
  'power_of_two_choices',
  'least_loaded',
  'device_aware_weighted',
  'direct',
  'kv',
] as const;

/** How a service calls another one. */
export interface DependsOptions {
  /** @default 'round_robin' */
  readonly mode?: DependencyMode;
  /** Tokens in a block of the workers' KV cache. Required by the mode `kv`, for which requests have `token_ids`. */
  readonly blockSize?: number;
}

/** @internal */
export const DEPENDS_ROWS = {
  mode: oneOf(...DEPENDENCY_MODES).about('How an instance is selected.'),
  blockSize: integer(1).about("Tokens in a block of the workers' KV cache, for the mode kv."),
};

const DEPENDS_OPTIONS: OptionTable<DependsOptions> = optionTable<DependsOptions>(DEPENDS_ROWS);

/**
 * Checks what the options of a dependency mean together.
 *
 * @internal
 */
export function checkBlockSize(path: string, { mode, blockSize }: DependsOptions): void {
  if ((mode === 'kv') !== (blockSize !== undefined))
    wrongType(`${path}.blockSize`, 'a number if and only if the mode is kv', blockSize);
}

/**
 * What a dependency says of the service that it needs.
 * @inline
 */
interface DependencyParts<Methods> {
  readonly options: DependsOptions;
  /** The service that it needs. Not known before all modules of the graph are loaded. */
  target(): Service<Methods>;
}

/** Decorates a field of one type. */
export type FieldDecorator<Value> = (
  value: undefined,
  context: ClassFieldDecoratorContext<object, Value>,
) => () => Value;

/**
 * Needs a service, and gives its client. Made by `depends`. A decorator of a field, or a value for `defineService`.
 *
 * The field may be optional, for graphs that do not link it.
 *
 * It is an intersection because TypeScript infers nothing from a generic call that returns a function, as `depends`
 * would be in the options of `defineService`.
 */
export type Dependency<Methods> = FieldDecorator<ClientOf<Methods>> &
  FieldDecorator<ClientOf<Methods> | undefined> &
  DependencyParts<Methods>;

/** The types of the clients of some dependencies. */
export type ClientsOf<Dependencies> = {
  readonly [Name in keyof Dependencies]: Dependencies[Name] extends Dependency<infer Methods>
    ? ClientOf<Methods>
    : never;
};

/** Where decorators leave what `@service` reads. */
export const NOTES: unique symbol = Symbol('dynamo-node.sdk');

/** What the decorators of one class have said. */
export interface Notes {
  readonly dependencies: Record<string, AnyDependency>;
  readonly endpoints: EndpointDefinition[];
  readonly hooks: Hook[];
}

const none: Notes = { dependencies: {}, endpoints: [], hooks: [] };

/**
 * The notes of the class that a decorator belongs to. They begin with those of the parent class.
 *
 * @throws TypeError for a decorator of the older kind, or on a static member
 */
export function notesOf(decorator: string, context: DecoratorContext | undefined): Notes {
  const fail = (message: string): never => {
    throw badArgument(new TypeError(`@${decorator}: ${message}`));
  };
  if (typeof context !== 'object' || context.metadata === undefined)
    return fail('expected a standard decorator; remove experimentalDecorators from the compiler options');
  if (context.kind !== 'class' && context.static)
    fail(`expected a member of instances, got static ${String(context.name)}`);
  const metadata = context.metadata as { [NOTES]?: Notes };
  if (!Object.hasOwn(metadata, NOTES)) {
    const { dependencies, endpoints, hooks } = metadata[NOTES] ?? none;
    metadata[NOTES] = { dependencies: { ...dependencies }, endpoints: [...endpoints], hooks: [...hooks] };
  }
  return metadata[NOTES] as Notes;
}

const isThunk = (target: unknown): target is () => unknown =>
  typeof target === 'function' && target.prototype === undefined;

/**
 * A dependency on another service: the graph runs that service too, and the client of it is injected.
 *
 * @param target the service or its class; a function that returns it if it is declared later
 * @throws TypeError if `target` is none of these
 *
 * @example
 * import { type ClientOf, depends, endpoint, service } from 'dynamo-node/sdk';
 *
 * @service()
 * class Worker {
 *   @endpoint()
 *   async *generate(text: string) {
 *     yield* text.split(' ');
 *   }
 * }
 *
 * @service()
 * class Frontend {
 *   @depends(Worker) readonly worker!: ClientOf<Worker>;
 *
 *   @endpoint()
 *   async *generate(text: string) {
 *     for await (const word of this.worker.generate(text)) yield word.toUpperCase();
 *   }
 * }
 */
export function depends<Methods>(target: ServiceTarget<Methods>, options: DependsOptions = {}): Dependency<Methods> {
  DEPENDS_OPTIONS.check('depends options', options);
  checkBlockSize('depends options', options);
  if (!isThunk(target)) serviceOf('depends', target);
  const decorate = (_: undefined, context: DecoratorContext): (() => unknown) => {
    const property = String(context.name);
    notesOf('depends', context).dependencies[property] = dependency;
    return () => contextOfConstruction()?.clients[property];
  };
  const dependency = Object.assign(decorate as FieldDecorator<ClientOf<Methods>>, {
    options,
    target: () => serviceOf('depends', isThunk(target) ? target() : target) as Service<Methods>,
  }) as Dependency<Methods>;
  return dependency;
}

/** @throws TypeError for a value that `depends` has not returned */
export function checkDependencies(path: string, dependencies: unknown): asserts dependencies is Dependencies {
  checkObject(path, dependencies);
  for (const [property, dependency] of Object.entries(dependencies))
    if (typeof dependency !== 'function' || !('target' in dependency))
      wrongType(`${path}.${property}`, 'what depends() returns', dependency);
}
