import { wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { boolean, type OptionTable, optionTable } from '../options.js';
import { GRAPH_SCHEMA, type GraphSpec, type ServiceSpec } from './graph-spec.js';
import { type DependsOptions, type Service, type ServiceLike, serviceOf } from './service.js';
import { checkServiceName } from './service-options.js';
import { parseXPyD } from './xpyd.js';

/** The options of a graph. */
export interface GraphOptions {
  /** Whether its services may have different namespaces. @default false */
  readonly mixedNamespaces?: boolean;
  /** Whether services may depend on one another in a circle. They then start in any order. @default false */
  readonly allowCycles?: boolean;
}

const GRAPH_OPTIONS: OptionTable<GraphOptions> = optionTable<GraphOptions>({
  mixedNamespaces: boolean.about('Whether its services may have different namespaces.'),
  allowCycles: boolean.about('Whether services may depend on one another in a circle.'),
});

/** The maximum of Dynamo's operator. */
const MAX_SERVICES = 25;

/** A fault of a graph. `reason` is stable, such as `graph.not_servable`. */
export class GraphError extends TypeError {
  override readonly name = 'GraphError';
  readonly code = 'DYN_BAD_GRAPH';

  constructor(
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

interface Edge {
  readonly property: string;
  readonly to: Service;
  readonly options: DependsOptions;
}

interface GraphParts {
  readonly name: string;
  readonly entry: Service;
  readonly beside: readonly Service[];
  readonly links: readonly (readonly [Service, Service])[];
  /** By the name of a service. */
  readonly workers: ReadonlyMap<string, number>;
  readonly options: GraphOptions;
}

/**
 * Services that work together, and the one that users call. It is a value: each method returns a new graph.
 *
 * Without a link, a graph has all dependencies. With links it has only those: a service that a link names loses its
 * other dependencies, and their fields are undefined.
 */
export class Graph {
  readonly #parts: GraphParts;
  #edges: ReadonlyMap<Service, readonly Edge[]> | undefined;

  /** @internal */
  constructor(parts: GraphParts) {
    this.#parts = parts;
  }

  get name(): string {
    return this.#parts.name;
  }

  get entry(): Service {
    return this.#parts.entry;
  }

  /**
   * Selects a dependency of `from`. If `to` is not the dependency itself but fulfils it, `to` takes its place.
   *
   * @throws TypeError for what is no service
   */
  link(from: ServiceLike, to: ServiceLike): Graph {
    const link = [serviceOf('link from', from), serviceOf('link to', to)] as const;
    return new Graph({ ...this.#parts, links: [...this.#parts.links, link] });
  }

  /** Links each service to the next one. */
  chain(...services: readonly ServiceLike[]): Graph {
    return services.slice(1).reduce<Graph>((graph, to, index) => graph.link(services[index] as ServiceLike, to), this);
  }

  /** Adds services that no other service depends on, such as the engines behind a frontend, or a planner. */
  with(...services: readonly ServiceLike[]): Graph {
    const added = services.map((one, index) => serviceOf(`with service ${index}`, one));
    return new Graph({ ...this.#parts, beside: [...this.#parts.beside, ...added] });
  }

  /**
   * Sets numbers of workers: by the name of a service, or as `3P2D` for the services of the roles prefill and decode.
   *
   * @throws GraphError `graph.unknown_service` for a service, or `graph.no_role` for a role, that it does not have
   */
  scale(counts: string | Readonly<Record<string, number>>): Graph {
    const byName = typeof counts === 'string' ? this.#countsOf(parseXPyD(counts)) : Object.entries(counts);
    for (const [name, count] of byName) {
      this.service(name);
      if (!Number.isInteger(count) || count < 0) wrongType(`scale ${name}`, 'a number of workers', count);
    }
    return new Graph({ ...this.#parts, workers: new Map([...this.#parts.workers, ...byName]) });
  }

  #countsOf(counts: object): [string, number][] {
    return Object.entries(counts).map(([role, count]) => {
      const found = this.services.find((one) => one.role === role);
      if (found === undefined)
        throw new GraphError('graph.no_role', `graph ${this.name} has no service of role ${role}`);
      return [found.name, count];
    });
  }

  /** Its services. Each comes after those that it depends on. */
  get services(): readonly Service[] {
    return [...this.#resolved().keys()];
  }

  /** @throws GraphError `graph.unknown_service` if it has no service of this name */
  service(name: string): Service {
    const found = this.services.find((one) => one.name === name);
    if (found !== undefined) return found;
    const known = this.services.map((one) => one.name).join(', ');
    throw new GraphError(
      'graph.unknown_service',
      `graph ${this.name} has no service '${name}'; its services are ${known}`,
    );
  }

  /** What a service depends on in this graph, by the property of the client. */
  dependenciesOf(
    service: Service,
  ): readonly { readonly property: string; readonly to: Service; readonly options: DependsOptions }[] {
    return this.#resolved().get(service) ?? [];
  }

  /** @throws GraphError that names the fault and its services */
  validate(): this {
    this.#resolved();
    return this;
  }

  /** @throws GraphError as `validate` */
  toJSON(): GraphSpec {
    const { name, entry, workers } = this.#parts;
    const services = [...this.#resolved()].map(([service, edges]) =>
      specOf(service, edges, workers.get(service.name) ?? service.workers),
    );
    return { schema: GRAPH_SCHEMA, name, entry: entry.name, services };
  }

  /** The graph in the language of Mermaid diagrams. */
  toMermaid(): string {
    const services = [...this.#resolved()].reverse();
    const idOf = ({ name }: Service): string => name.replaceAll('-', '_');
    const nodes = services.map(([one]) => `  ${idOf(one)}${one === this.entry ? `([${one.name}])` : `[${one.name}]`}`);
    const arrows = services.flatMap(([from, edges]) => edges.map(({ to }) => `  ${idOf(from)} --> ${idOf(to)}`));
    return ['graph LR', ...nodes, ...arrows, ''].join('\n');
  }

  #resolved(): ReadonlyMap<Service, readonly Edge[]> {
    return (this.#edges ??= resolve(this.#parts));
  }
}

/**
 * A graph whose users call `entry`.
 *
 * @throws TypeError if `entry` is no service
 *
 * @example
 * import { endpoint, graph, service } from 'dynamo-node/sdk';
 *
 * @service()
 * class Echo {
 *   @endpoint()
 *   async *generate(text: string) {
 *     yield text;
 *   }
 * }
 *
 * export default graph('echo', Echo);
 */
export function graph(name: string, entry: ServiceLike, options: GraphOptions = {}): Graph {
  checkServiceName('graph name', name);
  GRAPH_OPTIONS.check('graph options', options);
  return new Graph({
    name,
    entry: serviceOf('graph entry', entry),
    beside: [],
    links: [],
    workers: new Map(),
    options,
  });
}

/** The dependencies of a service that the graph has. */
function edgesOf(service: Service, links: GraphParts['links']): Edge[] {
  const all = [...service.dependencies].map(([property, dependency]) => ({
    property,
    to: dependency.target(),
    options: dependency.options,
  }));
  if (!links.some((link) => link.includes(service))) return all;
  const targets = new Set(links.flatMap(([from, to]) => (from === service ? [to] : [])));
  const linked = [...targets].map((to) => {
    const exact = all.filter((edge) => edge.to === to);
    const matching = exact.length > 0 ? exact : all.filter((edge) => to.fulfils(edge.to));
    const [edge, another] = matching;
    if (edge === undefined)
      throw new GraphError(
        'graph.link_no_match',
        `${to.name} does not fulfill any dependencies required by ${service.name}`,
      );
    if (another !== undefined)
      throw new GraphError(
        'graph.link_ambiguous',
        `${to.name} fulfills multiple dependencies required by ${service.name}: ` +
          `[${matching.map(({ property }) => property).join(', ')}]`,
      );
    return { ...edge, to };
  });
  for (const [index, { property, to }] of linked.entries()) {
    const earlier = linked.slice(0, index).find((edge) => edge.property === property);
    if (earlier !== undefined)
      throw new GraphError(
        'graph.link_twice',
        `${service.name} has links of its dependency ${property} to ${earlier.to.name} and to ${to.name}`,
      );
  }
  return linked;
}

/** All services that are reached, dependencies first. */
function resolve({ name, entry, beside, links, options }: GraphParts): Map<Service, readonly Edge[]> {
  const found = new Map<Service, readonly Edge[]>();
  const open: Service[] = [];
  const visit = (service: Service): void => {
    if (open.includes(service)) {
      if (options.allowCycles === true) return;
      const circle = [...open.slice(open.indexOf(service)), service].map((one) => one.name).join(' -> ');
      throw new GraphError('graph.cycle', `graph ${name}: services depend on one another in a circle: ${circle}`);
    }
    if (found.has(service)) return;
    if (service.isAbstract)
      throw new GraphError(
        'graph.not_servable',
        `Service ${service.name} is not servable. Please use link to override with a concrete implementation.`,
      );
    open.push(service);
    const edges = edgesOf(service, links);
    for (const { to } of edges) visit(to);
    open.pop();
    found.set(service, edges);
  };
  for (const service of [...beside, entry]) visit(service);
  for (const link of links)
    for (const service of link)
      if (!found.has(service))
        throw new GraphError('graph.unreached', `graph ${name}: a link names ${service.name}, which is not reached`);
  check(name, [...found.keys()], options);
  return found;
}

function check(name: string, services: readonly Service[], { mixedNamespaces = false }: GraphOptions): void {
  const fail = (reason: string, message: string): never => {
    throw new GraphError(`graph.${reason}`, `graph ${name}: ${message}`);
  };
  if (services.length > MAX_SERVICES)
    fail('too_many_services', `expected at most ${MAX_SERVICES} services, got ${services.length}`);
  const byName = new Map<string, Service>();
  for (const service of services) {
    const other = byName.get(service.name.toLowerCase());
    if (other !== undefined)
      fail('same_name', `expected different names of services, got ${other.name} and ${service.name}`);
    byName.set(service.name.toLowerCase(), service);
  }
  for (const { name: one, missing } of services)
    if (missing.length > 0)
      fail('interface', `${one} violates Dynamo interface - missing implementation(s): ${missing.join(', ')}`);
  const planners = services.filter(({ role }) => role === 'planner').map((one) => one.name);
  if (planners.length > 1) fail('planners', `More than one planner found in the pipeline: ${planners.join(', ')}`);
  const namespaces = [...new Set(services.map(({ namespace }) => namespace))].sort();
  if (namespaces.length > 1 && !mixedNamespaces)
    fail('namespaces', `All components must have the same namespace, got ${namespaces.join(', ')}`);
}

function specOf(service: Service, edges: readonly Edge[], workers: number): ServiceSpec {
  const { name, namespace, component, role, program, endpoints, options, httpPort } = service;
  if (program.kind === 'abstract') throw badArgument(new TypeError(`${name}: an abstract service has no spec`));
  const { gpu = 0, ...resources } = options.resources ?? {};
  return {
    name,
    namespace,
    component,
    role,
    program: program.kind,
    ...(program.kind === 'python' ? { python: { module: program.module, args: program.args } } : {}),
    endpoints: endpoints.map(({ name, stream, transports, httpMethod }) => ({
      name,
      stream,
      transports,
      ...(httpMethod === undefined ? {} : { httpMethod }),
    })),
    dependencies: edges.map(({ property, to, options }) => ({
      property,
      service: to.name,
      mode: options.mode ?? 'round_robin',
      ...(options.blockSize === undefined ? {} : { blockSize: options.blockSize }),
    })),
    resources: { ...resources, gpu },
    workers,
    ...(httpPort === undefined ? {} : { httpPort }),
    ...(options.image === undefined ? {} : { image: options.image }),
    env: options.env ?? {},
    labels: options.labels ?? {},
    config: {},
  };
}
