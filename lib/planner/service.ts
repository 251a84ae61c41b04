import { wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import {
  boolean,
  custom,
  listOf,
  milliseconds,
  nested,
  type OptionTable,
  optionTable,
  stringMap,
  text,
} from '../options.js';
import type { GraphSpec, ServiceSpec } from '../sdk/graph-spec.js';
import { Service } from '../sdk/service.js';
import type { ServiceContext } from '../sdk/service-context.js';
import type { ServiceOptions } from '../sdk/service-options.js';
import { PLANNER_CONFIG, type PlannerConfig, type PlannerMode, rolesOf } from './core/config.js';
import type { PoolRole } from './core/types.js';

/** The planner of a graph. */
export interface PlannerServiceOptions {
  /** How it decides. @default the mode that fits the engines of the graph, and the defaults of the planner */
  readonly config?: PlannerConfig;
  /** The name of the service of each role. @default the only engine of the graph with that role */
  readonly services?: Readonly<Partial<Record<PoolRole, string>>>;
  /**
   * The endpoint of the workers of each role, such as `dynamo.backend.generate`. @default that of the service, which
   * programs of Python may replace by their own
   */
  readonly endpoints?: Readonly<Partial<Record<PoolRole, string>>>;
  /** URLs of the metrics of frontends. @default those of the frontends that run in this graph on this machine */
  readonly frontends?: readonly string[];
  /** Only requests for this model count. @default all */
  readonly model?: string;
  /** Decides but does not scale. @default false */
  readonly advisory?: boolean;
  /** How long a reading of metrics, or a change, may take. @default 10000 */
  readonly timeoutMs?: number;
  /** How long a removed worker may complete its requests before it is killed. @default 3600000 */
  readonly drainMs?: number;
}

const url = custom<string>('a URL', (path, value) => {
  if (typeof value !== 'string' || !URL.canParse(value)) wrongType(path, 'a URL', value);
});

/** The table of the options. */
export const PLANNER_SERVICE_OPTIONS: OptionTable<PlannerServiceOptions> = optionTable<PlannerServiceOptions>({
  config: nested(PLANNER_CONFIG).about('How it decides.'),
  services: stringMap.about('The name of the service of each role.'),
  endpoints: stringMap.about('The endpoint of the workers of each role.'),
  frontends: listOf(url, 'URLs').about('URLs of the metrics of frontends.'),
  model: text.about('Only requests for this model count.'),
  advisory: boolean.about('Decides but does not scale.'),
  timeoutMs: milliseconds(1).about('How long a reading of metrics, or a change, may take.'),
  drainMs: milliseconds(0).about('How long a removed worker may complete its requests.'),
});

/**
 * A planner as a service of a graph. It scales the engines of the graph: with `dynamo serve` the processes on this
 * machine, in Kubernetes the pods of its deployment.
 *
 * @param planner the options, or a function that makes them in the worker
 * @throws TypeError, RangeError for faulty options, and for more than one worker
 *
 * @example
 * import { plannerService } from 'dynamo-node/planner';
 * import { builtInService, frontendService, graph } from 'dynamo-node/sdk';
 *
 * const Frontend = frontendService('Frontend');
 * const Worker = builtInService('Worker', { kind: 'mocker', modelPath: './my-model' });
 * const Planner = plannerService('Planner', { config: { sla: { ttftMs: 2000, itlMs: 50 }, maxGpus: 4 } });
 *
 * export default graph('scaled', Frontend).with(Worker, Planner);
 */
export function plannerService(
  name: string,
  planner:
    | PlannerServiceOptions
    | ((context: ServiceContext) => PlannerServiceOptions | Promise<PlannerServiceOptions>) = {},
  options: Omit<ServiceOptions, 'role'> = {},
): Service<Record<never, never>> {
  const path = `plannerService ${name}`;
  if (typeof planner !== 'function') PLANNER_SERVICE_OPTIONS.check(path, planner);
  if (options.workers !== undefined && options.workers > 1)
    throw badArgument(new RangeError(`${path}.workers: expected at most 1, got ${options.workers}`));
  const create = typeof planner === 'function' ? planner : () => planner;
  return new Service(path, { ...options, role: 'planner', name }, { program: { kind: 'planner', create } });
}

/** What a planner scales. */
export interface PlannedPools {
  /** With the mode that was found, and the GPUs of the services. */
  readonly config: PlannerConfig;
  /** The service of each role. */
  readonly services: Readonly<Partial<Record<PoolRole, string>>>;
  /** The endpoint of the workers of each role. */
  readonly endpoints: Readonly<Partial<Record<PoolRole, string>>>;
}

const ENGINES: ReadonlySet<string> = new Set(['engine', 'builtIn', 'python']);

/**
 * Finds the engines of a graph that a planner scales.
 *
 * @throws TypeError if a role has no service, or several and none is named
 */
export function plannedPools(path: string, graph: GraphSpec, options: PlannerServiceOptions): PlannedPools {
  PLANNER_SERVICE_OPTIONS.check(path, options);
  const { config = {}, services: named = {}, endpoints: given = {} } = options;
  const engines = graph.services.filter(({ program, name }) => ENGINES.has(program) && name !== graph.entry);
  const mode = config.mode ?? modeOf(engines);
  const pools = { ...config.pools };
  const services: Partial<Record<PoolRole, string>> = {};
  const endpoints: Partial<Record<PoolRole, string>> = {};
  for (const role of rolesOf(mode)) {
    const service = serviceOf(`${path}.services.${role}`, role, named[role], engines, graph);
    services[role] = service.name;
    endpoints[role] = given[role] ?? `${service.namespace}.${service.component}.generate`;
    const gpusPerWorker = Math.max(1, Math.ceil(service.resources.gpu));
    pools[role] = { gpusPerWorker, ...pools[role] };
  }
  return { config: { ...config, mode, pools }, services, endpoints };
}

function modeOf(engines: readonly ServiceSpec[]): PlannerMode {
  const has = (role: PoolRole): boolean => engines.some((one) => one.role === role);
  if (has('prefill') && has('decode')) return 'disagg';
  if (has('worker')) return 'agg';
  return has('prefill') ? 'prefill' : 'decode';
}

function serviceOf(
  path: string,
  role: PoolRole,
  name: string | undefined,
  engines: readonly ServiceSpec[],
  graph: GraphSpec,
): ServiceSpec {
  const fitting =
    name === undefined ? engines.filter((one) => one.role === role) : graph.services.filter((one) => one.name === name);
  const [found, ...others] = fitting;
  if (found !== undefined && others.length === 0) return found;
  const known = (others.length > 0 ? fitting : graph.services).map((one) => one.name).join(', ');
  return wrongType(path, `the name of the service to scale, one of ${known}`, name);
}
