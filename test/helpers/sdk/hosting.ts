import {
  DistributedRuntime,
  type HostOptions,
  type RunningService,
  type RuntimeOptions,
  startService,
} from 'dynamo-node';
import type { Graph, ServiceLike } from 'dynamo-node/sdk';

import { closeAfterEach } from '../closing.js';
import { privateCluster } from '../runtime/cluster.js';

export interface Hosting {
  readonly options: RuntimeOptions;
  /** A runtime of the deployment, as for another process. */
  runtime(options?: RuntimeOptions): Promise<DistributedRuntime>;
  /** Runs one worker of a service on its own runtime. */
  start(graph: Graph, service: ServiceLike | string, options?: HostOptions): Promise<RunningService>;
  /** Runs one worker of each service, dependencies first. */
  startAll(graph: Graph): Promise<void>;
}

/** Creates deployments for the tests of one file. After each test their parts are closed, the last one first. */
export function hostings(): () => Hosting {
  const onEnd = closeAfterEach();
  return () => {
    const cluster = privateCluster();
    onEnd(() => cluster.remove());
    const runtime = async (options: RuntimeOptions = {}): Promise<DistributedRuntime> => {
      const made = await DistributedRuntime.create({ ...cluster.options, ...options });
      onEnd(() => made.close({ timeoutMs: 5000 }));
      return made;
    };
    const start = async (graph: Graph, service: ServiceLike | string, options?: HostOptions) => {
      const running = await startService(await runtime(), graph, service, options);
      onEnd(() => running.close({ timeoutMs: 1000 }).catch(() => {}));
      return running;
    };
    const startAll = async (graph: Graph): Promise<void> => {
      for (const service of graph.services) await start(graph, service);
    };
    return { options: cluster.options, runtime, start, startAll };
  };
}
