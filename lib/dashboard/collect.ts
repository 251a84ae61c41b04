import type { RunState } from '../deploy/local/run-folder.js';
import type { RuntimeOptions } from '../runtime/config.js';
import type { DashboardBackend, LogSource, ScaleRequest, TracedPrompt } from './backend.js';
import { History } from './history.js';
import type { DiscoveredInstance, InstanceFigures, SnapshotInputs } from './inputs.js';
import { type LocalReading, LocalSource } from './local-source.js';
import { type FrontendsReading, FrontendsSource } from './metrics-source.js';
import { Poller } from './poller.js';
import { RequestError } from './request-guard.js';
import type { RuntimeReading, RuntimeSource } from './runtime-source.js';
import { joinedFigures } from './services.js';
import { snapshot } from './snapshot.js';
import { SourceStates } from './source-states.js';
import { StatusSource } from './status-source.js';
import { type TracedChoice, Traces } from './traces.js';
import type { DashboardSnapshot, HistoryView, RoutingView, TraceView } from './view.js';

/** Which graph is shown, and from where it is known. */
export interface CollectorOptions {
  /** What the page calls it, if no supervisor names it. */
  readonly name: string;
  /** A graph that runs on this machine. */
  readonly local?: { readonly folder: string; readonly state: RunState } | undefined;
  /** How discovery is reached. @default that of the graph of this machine, else none */
  readonly runtime?: RuntimeOptions | undefined;
  /** Only instances of these namespaces. @default those of the graph of this machine, else all */
  readonly namespaces?: readonly string[] | undefined;
  /** Addresses of frontends, besides those of the graph of this machine. */
  readonly frontends: readonly string[];
  /** Addresses of status servers of workers. */
  readonly statusServers: readonly string[];
  readonly intervalMs: number;
}

const HISTORY_MS = 600_000;
/** Discovery lists all instances at each reading, and every worker publishes: the most costly source. */
const RUNTIME_INTERVALS = 2;
/** A change that takes longer goes on while its caller has an answer. */
const SCALE_ANSWER_MS = 1000;
const WARNING_MS = 60_000;
const SOON_MS = 3000;
const MAX_WARNINGS = 8;

/** Reads all sources of a graph, once an interval each, and makes the snapshots. */
export class Collector implements DashboardBackend {
  readonly #states = new SourceStates();
  readonly #history: History;
  readonly #local: LocalSource | undefined;
  readonly #localPoller: Poller<LocalReading> | undefined;
  readonly #runtimePoller: Poller<RuntimeReading> | undefined;
  readonly #frontendPoller: Poller<FrontendsReading>;
  readonly #statusPoller: Poller<ReadonlyMap<string, InstanceFigures>> | undefined;
  readonly #traces: Traces;
  readonly #namespaces: ReadonlySet<string> | undefined;
  #runtime: RuntimeSource | undefined;
  #warnings: readonly { readonly text: string; readonly untilMs: number }[] = [];
  #isClosed = false;
  #sequence = 0;
  #last: DashboardSnapshot | undefined;

  constructor(private readonly options: CollectorOptions) {
    const { local, intervalMs, frontends, statusServers } = options;
    this.#history = new History(Math.max(1, Math.round(HISTORY_MS / intervalMs)), intervalMs);
    this.#local = local === undefined ? undefined : new LocalSource(local.folder, local.state);
    const placed = this.#local?.placed;
    const runtime = options.runtime ?? placed?.runtime;
    const namespaces = options.namespaces ?? placed?.spec.services.map(({ namespace }) => namespace);
    this.#namespaces = namespaces === undefined ? undefined : new Set(namespaces);
    const poller = <T>(name: string, read: () => Promise<T>, every = intervalMs): Poller<T> =>
      new Poller(name, this.#states, every, read);
    const source = this.#local;
    this.#localPoller = source === undefined ? undefined : poller('supervisor', () => source.read());
    this.#runtimePoller =
      runtime === undefined
        ? undefined
        : poller('discovery', () => this.#readRuntime(runtime), RUNTIME_INTERVALS * intervalMs);
    const reader = new FrontendsSource(this.#states);
    this.#frontendPoller = poller('frontends', () => reader.read([...this.#ownFrontends(), ...frontends]));
    const status = new StatusSource(this.#states);
    this.#statusPoller =
      statusServers.length === 0 ? undefined : poller('status servers', () => status.read(statusServers));
    this.#traces = new Traces({
      frontend: () => this.#frontend(),
      explain: (choice) => this.#explain(choice),
      recall: async (id) => (await source?.recall(id)) ?? [],
      idOf: (id) => this.#idOf(id),
    });
  }

  /**
   * Reads all sources once, and goes on. Sources that do not answer are warnings of the snapshot. A slow one is not
   * waited for.
   */
  async start(): Promise<void> {
    await soon(this.#localPoller?.start());
    await soon(Promise.all([this.#runtimePoller?.start(), this.#frontendPoller.start(), this.#statusPoller?.start()]));
  }

  /** Makes the next snapshot and adds it to the history. */
  next(): DashboardSnapshot {
    this.#last = snapshot(this.#inputs());
    this.#history.add(this.#last.point);
    return this.#last;
  }

  snapshot(): DashboardSnapshot {
    return this.#last ?? this.next();
  }

  history(): HistoryView {
    return this.#history.view();
  }

  /** @throws RequestError, DeployError */
  async scale({ service, workers }: ScaleRequest): Promise<'done' | 'started'> {
    const source = this.#local;
    if (source === undefined)
      throw new RequestError(
        409,
        'E_NO_SUPERVISOR',
        'only a graph that `dynamo serve` runs on this machine can be scaled',
      );
    const change = source.scale(service, workers).then(() => 'done' as const);
    const answer = await Promise.race([
      change,
      new Promise<'started'>((resolve) => setTimeout(() => resolve('started'), SCALE_ANSWER_MS)),
    ]);
    if (answer === 'started')
      change.catch((error: unknown) => this.#warn(`${service}=${workers} failed: ${(error as Error).message}`));
    return answer;
  }

  trace(request: TracedPrompt): Promise<TraceView> {
    return this.#traces.run(request);
  }

  logs(instance: string, tail: number): LogSource | undefined {
    return this.#local?.logs(instance, tail);
  }

  async close(): Promise<void> {
    const pollers = [this.#localPoller, this.#runtimePoller, this.#frontendPoller, this.#statusPoller];
    this.#isClosed = true;
    await soon(Promise.all(pollers.map((poller) => poller?.close())));
    await this.#runtime?.close();
  }

  /** The addon is loaded here, so that a graph of this machine is shown also where it cannot be loaded. */
  async #readRuntime(options: RuntimeOptions): Promise<RuntimeReading> {
    const { RuntimeSource } = await import('./runtime-source.js');
    const filter = ({ namespace }: DiscoveredInstance): boolean => this.#namespaces?.has(namespace) ?? true;
    const source = this.#runtime ?? (await RuntimeSource.create(options, filter));
    if (this.#isClosed) await source.close();
    else this.#runtime = source;
    return source.read();
  }

  #inputs(): SnapshotInputs {
    const atMs = Date.now();
    const { name, frontends } = this.options;
    const local = this.#localPoller?.last;
    const discovered = this.#runtimePoller?.last;
    const { traffic, workers, frontends: read = [] } = this.#frontendPoller.last ?? {};
    this.#warnings = this.#warnings.filter(({ untilMs }) => untilMs > atMs);
    const outer = new Set(frontends);
    return {
      sequence: ++this.#sequence,
      atMs,
      name,
      spec: this.#local?.placed?.spec,
      run: local?.run ?? this.#local?.run,
      isGone: local?.isGone ?? false,
      instances: discovered?.instances ?? [],
      frontends: read.filter(({ url }) => outer.has(url)),
      figures: merged([
        this.#runtimePoller?.isOld === true ? undefined : discovered?.figures,
        this.#statusPoller?.last,
        local?.figures,
        workers,
      ]),
      traffic,
      decisions: local?.decisions ?? [],
      traces: this.#traces.last,
      sources: this.#states.all(),
      warnings: [...(discovered?.warnings ?? []), ...this.#warnings.map(({ text }) => text)],
      canTrace: this.#frontend() !== undefined,
    };
  }

  #ownFrontends(): readonly string[] {
    return this.#localPoller?.last?.frontends ?? [];
  }

  #frontend(): string | undefined {
    const answering = this.#frontendPoller.last?.frontends.find(({ isAnswering }) => isAnswering)?.url;
    return answering ?? this.#ownFrontends()[0];
  }

  async #explain({ model, tokens, chosen, hitRate }: TracedChoice): Promise<RoutingView | undefined> {
    const blockSize = this.#frontendPoller.last?.traffic?.blockSizes[model];
    if (blockSize === undefined) return undefined;
    const services = this.#last?.services ?? [];
    const found = services.find(({ instances }) => instances.some(({ instanceId }) => instanceId === chosen));
    const service = found?.name ?? chosen;
    const idOf = (id: string): string => this.#idOf(id);
    return this.#runtime?.explain({ service, blockSize, tokens, chosen, hitRate, idOf });
  }

  #idOf(instanceId: string): string {
    const instances = this.#last?.services.flatMap((service) => service.instances) ?? [];
    return instances.find((one) => one.instanceId === instanceId)?.id ?? instanceId;
  }

  #warn(text: string): void {
    this.#warnings = [...this.#warnings, { text, untilMs: Date.now() + WARNING_MS }].slice(-MAX_WARNINGS);
  }
}

/** Resolves with the promise, or without it after a moment. */
async function soon(promise: Promise<unknown> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, SOON_MS);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

/** Figures of several sources. The first that knows a field of an instance has it. */
function merged(
  sources: readonly (ReadonlyMap<string, InstanceFigures> | undefined)[],
): ReadonlyMap<string, InstanceFigures> {
  const all = new Map<string, InstanceFigures>();
  for (const source of sources)
    for (const [id, figures] of source ?? []) all.set(id, joinedFigures(all.get(id), figures));
  return all;
}
