import type { ServiceStatus, WorkerStatus } from '../deploy/local/run-folder.js';
import type { ServiceSpec } from '../sdk/graph-spec.js';
import type { DiscoveredInstance, InstanceFigures, OuterFrontend, SnapshotInputs } from './inputs.js';
import type { EdgeView, FlowView, InstanceView, KvView, ServiceView, ViewRole } from './view.js';

const OUTER_FRONTENDS = 'frontends';
const PREFILL = 'prefill';
/** The roles whose instances a frontend calls. */
const CALLED: ReadonlySet<ViewRole> = new Set(['worker', 'prefill', 'decode']);

type Figures = SnapshotInputs['figures'];

/** All fields, so that one that a view gains later is not forgotten in a literal. */
type Whole<View> = { readonly [Name in keyof Required<View>]: View[Name] };

// Each instance is made again each second. So its parts are literals with all fields, and not made field by field.

function joinedFlow(first: FlowView | undefined, second: FlowView | undefined): FlowView {
  if (first === undefined || second === undefined) return first ?? second ?? {};
  return {
    requestsPerSecond: first.requestsPerSecond ?? second.requestsPerSecond,
    running: first.running ?? second.running,
    queued: first.queued ?? second.queued,
    inputTokensPerSecond: first.inputTokensPerSecond ?? second.inputTokensPerSecond,
    outputTokensPerSecond: first.outputTokensPerSecond ?? second.outputTokensPerSecond,
  } satisfies Whole<FlowView>;
}

function joinedKv(first: KvView | undefined, second: KvView | undefined): KvView {
  if (first === undefined || second === undefined) return first ?? second ?? {};
  return {
    usedBlocks: first.usedBlocks ?? second.usedBlocks,
    totalBlocks: first.totalBlocks ?? second.totalBlocks,
    usage: first.usage ?? second.usage,
    hitRate: first.hitRate ?? second.hitRate,
  } satisfies Whole<KvView>;
}

function kvOf({ usedBlocks, usage, hitRate, totalBlocks: own }: KvView, ofModel: number | undefined): KvView {
  const total = own ?? ofModel;
  const totalBlocks = usedBlocks === undefined ? own : total;
  const share =
    usage ?? (usedBlocks !== undefined && total !== undefined && total > 0 ? usedBlocks / total : undefined);
  return { usedBlocks, totalBlocks, usage: share === undefined ? undefined : Math.min(1, Math.max(0, share)), hitRate };
}

/** Figures of two sources of an instance. The first that knows one has it. */
export function joinedFigures(
  first: InstanceFigures | undefined,
  second: InstanceFigures | undefined,
): InstanceFigures {
  if (first === undefined || second === undefined) return first ?? second ?? {};
  return {
    flow: joinedFlow(first.flow, second.flow),
    kv: joinedKv(first.kv, second.kv),
    lastTtftMs: first.lastTtftMs ?? second.lastTtftMs,
    lastItlMs: first.lastItlMs ?? second.lastItlMs,
    passMs: first.passMs ?? second.passMs,
    metricsAgeMs: first.metricsAgeMs ?? second.metricsAgeMs,
    transfers: first.transfers ?? second.transfers,
    workerType: first.workerType ?? second.workerType,
  };
}

/** What is known of an instance besides its figures. */
type InstanceFields = Omit<
  InstanceView,
  'flow' | 'kv' | 'lastTtftMs' | 'lastItlMs' | 'passMs' | 'metricsAgeMs' | 'transfers'
>;

function instanceOf(fields: InstanceFields, { figures, totalBlocks }: Lookup): InstanceView {
  const { id, service, number, instanceId, phase, pid, restarts, url, address, gpus, reason, hasLog } = fields;
  const known = instanceId === undefined ? undefined : figures.get(instanceId);
  const found = joinedFigures(known, instanceId === id ? undefined : figures.get(id));
  const { flow = {}, kv = {}, lastTtftMs, lastItlMs, passMs, metricsAgeMs, transfers } = found;
  return {
    id,
    service,
    number,
    instanceId,
    phase,
    pid,
    restarts,
    url,
    address,
    gpus,
    reason,
    hasLog,
    flow,
    kv: kvOf(kv, totalBlocks),
    lastTtftMs,
    lastItlMs,
    passMs,
    metricsAgeMs,
    transfers,
  };
}

function ofWorker(service: string, worker: WorkerStatus, lookup: Lookup): InstanceView {
  const { number, phase, pid, restarts, url, gpus, reason, instanceId } = worker;
  const id = `${service}#${number}`;
  const address = instanceId === undefined ? undefined : lookup.byId.get(instanceId)?.address;
  return instanceOf(
    { id, service, number, instanceId, phase, pid, restarts, url, address, gpus, reason, hasLog: true },
    lookup,
  );
}

const ofDiscovery = (service: string, { instanceId, address }: DiscoveredInstance, lookup: Lookup): InstanceView =>
  instanceOf({ id: instanceId, service, instanceId, phase: 'present', address, hasLog: false }, lookup);

/** What is looked up for each instance. */
interface Lookup {
  readonly figures: Figures;
  readonly byId: ReadonlyMap<string, DiscoveredInstance>;
  /** The blocks of a worker, if all models of the frontends have as many. */
  readonly totalBlocks: number | undefined;
}

function lookupOf({ figures, instances, traffic }: SnapshotInputs): Lookup {
  const totals = new Set(Object.values(traffic?.totalBlocks ?? {}));
  const [totalBlocks] = totals.size === 1 ? totals : [];
  return { figures, totalBlocks, byId: new Map(instances.map((one) => [one.instanceId, one])) };
}

const isReady = ({ phase }: InstanceView): boolean => phase === 'ready' || phase === 'present';

type ServiceFields = Omit<ServiceView, 'ready' | 'instances'>;

const viewOf = (fields: ServiceFields, instances: readonly InstanceView[]): ServiceView => ({
  ...fields,
  ready: instances.filter(isReady).length,
  instances,
});

/** A service that the supervisor of this machine runs, with the workers that other machines run of it. */
function ofGraph(
  spec: ServiceSpec | undefined,
  { name, desired, workers }: ServiceStatus,
  others: readonly DiscoveredInstance[],
  isEntry: boolean,
  isGone: boolean,
  lookup: Lookup,
): ServiceView {
  const fields = {
    name,
    role: spec?.role ?? 'unknown',
    isEntry,
    desired,
    canScale: !isGone,
    ...(spec === undefined ? {} : { component: `${spec.namespace}.${spec.component}`, program: spec.program }),
  } as const;
  const own = workers.map((worker) => ofWorker(name, worker, lookup));
  return viewOf(fields, [...own, ...others.map((one) => ofDiscovery(name, one, lookup))]);
}

function roleOf(component: string, instances: readonly DiscoveredInstance[], figures: Figures): ViewRole {
  const types = new Set(instances.map(({ instanceId }) => figures.get(instanceId)?.workerType));
  if (types.has(PREFILL) || component === PREFILL) return 'prefill';
  return instances.some(({ endpoint }) => endpoint === 'generate') ? 'worker' : 'unknown';
}

/** One entry an instance, although it may serve several endpoints. `generate` wins. */
function distinct(instances: readonly DiscoveredInstance[]): DiscoveredInstance[] {
  const found = new Map<string, DiscoveredInstance>();
  for (const one of instances) {
    const key = `${one.namespace}.${one.component}/${one.instanceId}`;
    if (!found.has(key) || one.endpoint === 'generate') found.set(key, one);
  }
  return [...found.values()];
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

function ofFrontends(frontends: readonly OuterFrontend[], lookup: Lookup): ServiceView[] {
  if (frontends.length === 0) return [];
  const instances = frontends.map(({ url, isAnswering }) => {
    const phase = isAnswering ? 'present' : 'failed';
    const reason = isAnswering ? undefined : 'its metrics cannot be read';
    return instanceOf({ id: url, service: OUTER_FRONTENDS, phase, url, reason, hasLog: false }, lookup);
  });
  return [viewOf({ name: OUTER_FRONTENDS, role: 'frontend', isEntry: true, canScale: false }, instances)];
}

/** The services with their instances: those of the graph in its order, then what only discovery knows. */
export function servicesOf(inputs: SnapshotInputs): ServiceView[] {
  const { spec, run, isGone, frontends, figures } = inputs;
  const lookup = lookupOf(inputs);
  const own = new Set(run?.services.flatMap(({ workers }) => workers.flatMap(({ instanceId }) => instanceId ?? [])));
  const others = grouped(
    distinct(inputs.instances.filter(({ instanceId }) => !own.has(instanceId))),
    ({ namespace, component }) => `${namespace}.${component}`,
  );
  const specs = new Map(spec?.services.map((service) => [service.name, service]));
  const ofRun = (run?.services ?? []).map((status) => {
    const service = specs.get(status.name);
    const component = service === undefined ? '' : `${service.namespace}.${service.component}`;
    // The id of a worker of this machine may not be known yet: then its instance is not listed twice.
    const isAllKnown = status.workers.every(({ instanceId, phase }) => instanceId !== undefined || phase !== 'ready');
    const found = isAllKnown ? (others.get(component) ?? []) : [];
    others.delete(component);
    return ofGraph(service, status, found, spec?.entry === status.name, isGone, lookup);
  });
  const ofOthers = [...others].map(([name, instances]) => {
    const component = instances[0]?.component ?? '';
    const fields = { name, component: name, role: roleOf(component, instances, figures), isEntry: false } as const;
    return viewOf(
      { ...fields, canScale: false },
      instances.map((one) => ofDiscovery(name, one, lookup)),
    );
  });
  return [...ofFrontends(frontends, lookup), ...ofRun, ...ofOthers];
}

/** Who calls whom: the dependencies of the graph, else every frontend each worker, and prefill decode. */
export function edgesOf({ spec }: SnapshotInputs, services: readonly ServiceView[]): EdgeView[] {
  const known = new Set(services.map(({ name }) => name));
  const named = (role: ViewRole): string[] => services.filter((one) => one.role === role).map(({ name }) => name);
  const declared = (spec?.services ?? []).flatMap(({ name, dependencies }) =>
    dependencies.map(({ service, mode }): EdgeView => ({ from: name, to: service, kind: 'request', mode })),
  );
  // A frontend finds its workers by discovery: its graph need not declare them.
  const called = new Set(declared.map(({ to }) => to));
  const targets = services.filter(({ name, role }) => CALLED.has(role) && !called.has(name));
  const assumed = named('frontend').flatMap((from) =>
    targets.map(({ name }): EdgeView => ({ from, to: name, kind: 'request' })),
  );
  const readers = named('decode').length > 0 ? named('decode') : named('worker');
  const transfers = named('prefill').flatMap((from) => readers.map((to): EdgeView => ({ from, to, kind: 'transfer' })));
  return [...declared, ...assumed, ...transfers].filter(({ from, to }) => known.has(from) && known.has(to));
}
