import type { Readable } from 'node:stream';
import type { RuntimeOptions } from '../../runtime/config.js';
import type { GraphSpec } from '../../sdk/graph-spec.js';
import type { GraphModule } from '../load-graph.js';
import type { InstanceWatch } from './instance-watch.js';
import type { WorkerIdentity } from './managed-worker.js';
import type { RunFolder } from './run-folder.js';
import type { RecalledPhases, WorkerMetrics } from './worker-messages.js';

/** What the processes of a graph have in common. */
export interface SpawnOptions {
  readonly module: GraphModule;
  readonly spec: GraphSpec;
  readonly runtime: RuntimeOptions;
  readonly folder: RunFolder;
  readonly watch: InstanceWatch;
  readonly env: NodeJS.ProcessEnv;
  /** The words before each command that end it with this process. */
  readonly prefix: readonly string[];
  /** The address of the HTTP servers, and the port of that of the entry. */
  readonly httpHost?: string;
  readonly httpPort?: number;
  readonly onMetrics: (worker: WorkerIdentity, metrics: WorkerMetrics) => void;
  /** The answers to `recall`. A worker without such answers never calls it. */
  readonly onRecalled: (recalled: RecalledPhases) => void;
  readonly onOutput: (worker: WorkerIdentity, stream: Readable) => void;
}
