import type { DashboardBackend, LogSource, ScaleRequest, TracedPrompt } from '../../../lib/dashboard/backend.js';
import { History } from '../../../lib/dashboard/history.js';
import type { SnapshotInputs } from '../../../lib/dashboard/inputs.js';
import { loadPage } from '../../../lib/dashboard/page/files.js';
import { RequestError } from '../../../lib/dashboard/request-guard.js';
import { DashboardServer, type StaticFile } from '../../../lib/dashboard/server.js';
import { snapshot } from '../../../lib/dashboard/snapshot.js';
import type { DashboardSnapshot, TraceView } from '../../../lib/dashboard/view.js';
import { HOSTILE_TEXT, type InventedGraph, inventedInputs } from './inputs.js';

/** An invented graph, and how its server behaves. */
export interface FakeDashboardOptions extends InventedGraph {
  /** @default 1000 */
  readonly intervalMs?: number;
  /** @default those of the page */
  readonly files?: ReadonlyMap<string, StaticFile>;
  /** Points before the first snapshot. @default 0 */
  readonly historyPoints?: number;
}

/** The real server over invented inputs, without the addon and without processes. */
export interface FakeDashboard {
  /** With the token. */
  readonly url: string;
  /** `http://127.0.0.1:PORT`. */
  readonly origin: string;
  readonly token: string;
  readonly server: DashboardServer;
  /** The requests to scale. */
  readonly scaled: readonly ScaleRequest[];
  /** The requests to trace. */
  readonly traced: readonly TracedPrompt[];
  /** Changes the inputs of later snapshots. */
  update(change: (inputs: SnapshotInputs) => SnapshotInputs): void;
  /** Makes and sends the next snapshot now. */
  send(): DashboardSnapshot;
  close(): Promise<void>;
}

const TOKEN = 'a-token-of-a-test';

/** Starts it. A scale to 13 workers is refused. */
export async function startFakeDashboard(options: FakeDashboardOptions = {}): Promise<FakeDashboard> {
  const { intervalMs = 1000, historyPoints = 0, ...graph } = options;
  const history = new History(600, 1000);
  const scaled: ScaleRequest[] = [];
  const traced: TracedPrompt[] = [];
  let sequence = 0;
  let change = (inputs: SnapshotInputs): SnapshotInputs => inputs;
  let last: DashboardSnapshot | undefined;

  const next = (atMs = Date.now()): DashboardSnapshot => {
    last = snapshot(change(inventedInputs(++sequence, atMs, graph)));
    history.add(last.point);
    return last;
  };
  for (let point = historyPoints; point > 0; point--) next(Date.now() - point * 1000);

  const backend: DashboardBackend = {
    snapshot: () => last ?? next(),
    history: () => history.view(),
    scale: async (request) => {
      if (request.workers === 13)
        throw new RequestError(409, 'E_GPU_SHORT', '13 workers need 13 GPUs, 2 are free', 'Take fewer.');
      scaled.push(request);
      return request.workers > 5 ? 'started' : 'done';
    },
    trace: async (request) => {
      traced.push(request);
      return backend.snapshot().traces[0] as TraceView;
    },
    logs: (instance, tail) => (instance.startsWith('Decode#') ? linesOf(tail, graph.hostile === true) : undefined),
  };
  const files = options.files ?? (await loadPage());
  const server = await DashboardServer.listen({ backend, files, token: TOKEN, host: '127.0.0.1', port: 0 });
  const send = (): DashboardSnapshot => {
    const snapshotNow = next();
    server.send(snapshotNow);
    return snapshotNow;
  };
  const timer = setInterval(send, intervalMs);
  return {
    url: `${server.url}#token=${TOKEN}`,
    origin: server.url.slice(0, -1),
    token: TOKEN,
    ...{ server, scaled, traced, send },
    update(changed) {
      change = changed;
    },
    async close() {
      clearInterval(timer);
      await server.close();
    },
  };
}

/** The first read has `tail` lines, each later one a further line. */
function linesOf(tail: number, isHostile: boolean): LogSource {
  let count = 0;
  const line = (): { time: string; text: string } => ({
    time: new Date(Date.UTC(2026, 0, 1, 0, 0, count)).toISOString(),
    text: isHostile ? `${HOSTILE_TEXT} ${count++}` : `line ${count++}`,
  });
  return {
    async read() {
      const isFirst = count === 0;
      return { lines: Array.from({ length: isFirst ? tail : 1 }, line), skippedBytes: 0 };
    },
  };
}
