import { randomBytes } from 'node:crypto';
import { wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { custom, integer, type OptionTable, optionTable } from '../options.js';
import type { Collector } from './collect.js';
import { collectorOf, type DashboardFeedOptions, DEFAULT_INTERVAL_MS, FEED_ROWS } from './feed.js';
import { loadPage } from './page/files.js';
import { isLoopback } from './request-guard.js';
import { DashboardServer } from './server.js';
import { msToTick } from './ticks.js';
import type { DashboardSnapshot } from './view.js';

/** What a dashboard shows, and where it listens. */
export interface DashboardOptions extends DashboardFeedOptions {
  /** A loopback address. @default '127.0.0.1' */
  readonly host?: string;
  /** @default 0, any free one */
  readonly port?: number;
}

const MAX_PORT = 65_535;
const TOKEN_BYTES = 32;
/** When a snapshot is made after the sources were asked, as a share of the interval. Most have answered by then. */
const ANSWER_SHARE = 1 / 8;

const loopback = custom<string>(
  'a loopback address',
  (path, value) => {
    if (typeof value !== 'string') wrongType(path, 'a loopback address', value);
    if (!isLoopback(value))
      throw badArgument(
        new RangeError(`${path}: expected a loopback address, got ${value}; use a tunnel from other machines`),
      );
  },
  'text',
);

export const DASHBOARD_OPTIONS: OptionTable<DashboardOptions> = optionTable<DashboardOptions>({
  ...FEED_ROWS,
  host: loopback.about('The loopback address of the page.'),
  port: integer(0, MAX_PORT).about('The port of the page; 0 for any free one.'),
});

/**
 * A live view of a graph in the browser: its instances, request flow, latencies, KV caches, transfers and decisions of
 * the planner. It listens on loopback only.
 *
 * Everyone on this machine can see the page. Actions and logs need the token, which is part of `url`.
 *
 * @example
 * import { Dashboard } from 'dynamo-node/dashboard';
 *
 * await using dashboard = await Dashboard.start({
 *   runtime: { discovery: { kind: 'etcd' } },
 *   frontends: ['http://127.0.0.1:8000'],
 * });
 * console.log(dashboard.url);
 */
export class Dashboard implements AsyncDisposable {
  readonly #collector: Collector;
  readonly #server: DashboardServer;
  #timer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  private constructor(
    collector: Collector,
    server: DashboardServer,
    private readonly intervalMs: number,
    /** What actions and logs need. Another one at each start. */
    readonly token: string,
  ) {
    this.#collector = collector;
    this.#server = server;
    this.#sendNext();
  }

  /**
   * Starts the view. Resolves when the page can be opened; a source that does not answer is a warning on it.
   *
   * @throws TypeError, RangeError for faulty options
   * @throws DynamoError `NotFound` if the graph does not run
   * @throws Error with the code of the system if it cannot listen, such as `EADDRINUSE`
   */
  static async start(options: DashboardOptions = {}): Promise<Dashboard> {
    const operation = 'Dashboard.start';
    DASHBOARD_OPTIONS.check(`${operation} options`, options);
    const { host = '127.0.0.1', port = 0, intervalMs = DEFAULT_INTERVAL_MS } = options;
    const collector = collectorOf(operation, options);
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    let server: DashboardServer | undefined;
    try {
      server = await DashboardServer.listen({ backend: collector, files: await loadPage(), token, host, port });
      await collector.start();
      return new Dashboard(collector, server, intervalMs, token);
    } catch (error) {
      await server?.close();
      await collector.close();
      throw error;
    }
  }

  /** The address of the page with the token. */
  get url(): string {
    return `${this.#server.url}#token=${this.token}`;
  }

  /** The last snapshot. */
  snapshot(): DashboardSnapshot {
    return this.#collector.snapshot();
  }

  /** Ends all connections. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #sendNext(): void {
    const send = (): void => {
      this.#server.send(this.#collector.next());
      this.#sendNext();
    };
    this.#timer = setTimeout(send, msToTick(this.intervalMs, this.intervalMs * ANSWER_SHARE));
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#server.close();
    await this.#collector.close();
  }
}
