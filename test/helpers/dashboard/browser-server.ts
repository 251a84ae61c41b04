import type { DashboardBackend, InstanceLogLine, ScaleRequest, TracedPrompt } from '../../../lib/dashboard/backend.js';
import { loadPage } from '../../../lib/dashboard/page/files.js';
import { DashboardServer } from '../../../lib/dashboard/server.js';
import type { DashboardSnapshot } from '../../../lib/dashboard/view.js';
import { type SceneOptions, sceneHistory, sceneSnapshot } from './browser-scene.js';

export interface SceneServerOptions extends SceneOptions {
  /** @default any free one */
  readonly port?: number;
  /** The time between snapshots. @default 1000 */
  readonly intervalMs?: number;
  /** The lines of each log, to which a test may add. */
  readonly lines?: InstanceLogLine[];
  /** Changes a snapshot before it is sent. */
  readonly change?: (snapshot: DashboardSnapshot) => DashboardSnapshot;
}

/** The server of the dashboard before an invented graph. */
export class SceneServer implements AsyncDisposable {
  /** What was asked of the graph. */
  readonly scaled: ScaleRequest[] = [];
  readonly traced: TracedPrompt[] = [];
  readonly token = 'scene-token';
  readonly #options: SceneServerOptions;
  #server: DashboardServer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #second = 0;

  private constructor(options: SceneServerOptions) {
    this.#options = options;
  }

  static async start(options: SceneServerOptions = {}): Promise<SceneServer> {
    const server = new SceneServer(options);
    server.#server = await DashboardServer.listen({
      backend: server.#backend(),
      files: await loadPage(),
      token: server.token,
      host: '127.0.0.1',
      port: options.port ?? 0,
    });
    server.#timer = setInterval(() => {
      server.#second++;
      server.#server!.send(server.#snapshot());
    }, options.intervalMs ?? 1000);
    return server;
  }

  /** The address that `dynamo serve --ui` prints, without the token. */
  get url(): string {
    return this.#server!.url;
  }

  /** The same with the token. */
  get urlWithToken(): string {
    return `${this.url}#token=${this.token}`;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#server?.close();
  }

  #snapshot(): DashboardSnapshot {
    const snapshot = sceneSnapshot(this.#second, this.#options);
    return this.#options.change?.(snapshot) ?? snapshot;
  }

  #backend(): DashboardBackend {
    return {
      snapshot: () => this.#snapshot(),
      history: () => sceneHistory(this.#second),
      scale: async (request) => {
        this.scaled.push(request);
        return 'started';
      },
      trace: async (request) => {
        this.traced.push(request);
        return {
          ...sceneSnapshot(0, this.#options).traces[0]!,
          id: `asked-${this.traced.length}`,
          model: request.model ?? '',
        };
      },
      logs: (_, tail) => {
        const lines = this.#options.lines ?? [];
        let sent = Math.max(0, lines.length - tail);
        return {
          read: async () => {
            const part = lines.slice(sent);
            sent = lines.length;
            return { lines: part, skippedBytes: 0 };
          },
        };
      },
    };
  }
}
