import { wrongType } from '../check.js';
import { runningGraphs, runsFolder } from '../deploy/local/run-folder.js';
import { DynamoError } from '../errors.js';
import { custom, listOf, milliseconds, nested, type OptionTable, optionTable, text } from '../options.js';
import { RUNTIME_OPTIONS, type RuntimeOptions } from '../runtime/config.js';
import { Collector } from './collect.js';
import type { DashboardSnapshot, HistoryView } from './view.js';

/** Which graph is read, and from where it is known. */
export interface DashboardFeedOptions {
  /** The name of a graph that `dynamo serve` runs on this machine. @default none */
  readonly graph?: string;
  /** How discovery is reached, for a graph that other machines or programs run. @default that of `graph`, else none */
  readonly runtime?: RuntimeOptions;
  /** Only this namespace of discovery. @default those of `graph`, else all */
  readonly namespace?: string;
  /** Addresses of frontends, such as `http://127.0.0.1:8000`. Those of `graph` are known. */
  readonly frontends?: readonly string[];
  /** Addresses of status servers of workers, which `DYN_SYSTEM_PORT` starts. */
  readonly statusServers?: readonly string[];
  /** The time between two readings of a source. @default 1000 */
  readonly intervalMs?: number;
}

const MIN_INTERVAL_MS = 100;
const MAX_INTERVAL_MS = 60_000;
export const DEFAULT_INTERVAL_MS = 1000;

const url = custom<string>('an HTTP address', (path, value) => {
  const isHttp = typeof value === 'string' && URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);
  if (!isHttp) wrongType(path, 'an HTTP address', value);
});

/** The rows that a feed and a page share. */
export const FEED_ROWS = {
  graph: text.about('The name of a graph that `dynamo serve` runs on this machine.'),
  runtime: nested(RUNTIME_OPTIONS).about('How discovery is reached.'),
  namespace: text.about('Only this namespace of discovery.'),
  frontends: listOf(url, 'HTTP addresses').about('Addresses of frontends.'),
  statusServers: listOf(url, 'HTTP addresses').about('Addresses of status servers of workers.'),
  intervalMs: milliseconds(MIN_INTERVAL_MS, MAX_INTERVAL_MS).about('The time between two readings of a source.'),
};

const FEED_OPTIONS: OptionTable<DashboardFeedOptions> = optionTable<DashboardFeedOptions>(FEED_ROWS);

/** The graph of a name as its run folder describes it. */
function localGraph(operation: string, name: string | undefined): ReturnType<typeof runningGraphs>[number] | undefined {
  if (name === undefined) return undefined;
  const found = runningGraphs(runsFolder(process.env)).find(({ state }) => state.graph === name);
  if (found === undefined)
    throw new DynamoError('NotFound', `graph ${name} does not run on this machine`, { operation });
  return found;
}

/** The sources of checked options. Nothing is read yet. @throws DynamoError `NotFound` */
export function collectorOf(operation: string, options: DashboardFeedOptions): Collector {
  const { graph, runtime, namespace, frontends = [], statusServers = [] } = options;
  return new Collector({
    name: namespace ?? graph ?? 'dynamo',
    local: localGraph(operation, graph),
    runtime,
    namespaces: namespace === undefined ? undefined : [namespace],
    frontends,
    statusServers,
    intervalMs: options.intervalMs ?? DEFAULT_INTERVAL_MS,
  });
}

/**
 * Reads a running graph and describes it as snapshots: its instances, request flow, latencies, KV caches, transfers and
 * decisions of the planner. It is what a `Dashboard` shows.
 *
 * @example
 * import { DashboardFeed } from 'dynamo-node/dashboard';
 *
 * await using feed = await DashboardFeed.start({ frontends: ['http://127.0.0.1:8000'] });
 * console.log(feed.next().flow);
 */
export class DashboardFeed implements AsyncDisposable {
  readonly #collector: Collector;
  #closing: Promise<void> | undefined;

  private constructor(collector: Collector) {
    this.#collector = collector;
  }

  /**
   * Reads all sources once, and goes on. A source that does not answer is a warning of the snapshot.
   *
   * @throws TypeError, RangeError for faulty options
   * @throws DynamoError `NotFound` if the graph does not run
   */
  static async start(options: DashboardFeedOptions = {}): Promise<DashboardFeed> {
    const operation = 'DashboardFeed.start';
    FEED_OPTIONS.check(`${operation} options`, options);
    const collector = collectorOf(operation, options);
    await collector.start();
    return new DashboardFeed(collector);
  }

  /** The state of the graph as of the last reading of each source. Adds a point to the history. */
  next(): DashboardSnapshot {
    return this.#collector.next();
  }

  /** The points of the last 10 minutes, one for each call of `next`. */
  history(): HistoryView {
    return this.#collector.history();
  }

  /** Ends all readings. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#collector.close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
