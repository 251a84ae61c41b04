import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type DecisionRecord,
  decisionLine,
  type FrontendMetrics,
  type PlannerServiceOptions,
  type PlannerState,
  type Scaler,
} from '../planner/index.js';
import { type PlannedPools, plannedPools } from '../planner/service.js';
import { type GraphSpec, hasFrontendMetrics } from '../sdk/graph-spec.js';
import type { StartedProgram } from '../sdk/host/started.js';
import type { ServiceContext } from '../sdk/service-context.js';
import { LogFile } from './local/log-file.js';
import { DECISIONS, PLANNER_STATE } from './local/run-folder.js';
import { LocalScaler } from './local/scaler.js';
import { runPlanner } from './planner-run.js';

/** The state is written at most this often. */
const STATE_INTERVAL_MS = 1000;

/** What the planner of a graph has learned, in a file, for the case that its process starts again. */
class StateFile {
  #writtenMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly path: string) {}

  /** Undefined without a file, or for one that is no JSON. */
  read(): PlannerState | undefined {
    try {
      return JSON.parse(readFileSync(this.path, 'utf8')) as PlannerState;
    } catch {
      return undefined;
    }
  }

  write(state: PlannerState, isLast = false): void {
    const nowMs = performance.now();
    if (!isLast && nowMs - this.#writtenMs < STATE_INTERVAL_MS) return;
    this.#writtenMs = nowMs;
    try {
      writeFileSync(`${this.path}.new`, JSON.stringify(state), { mode: 0o600 });
      renameSync(`${this.path}.new`, this.path);
    } catch {
      // A full disk: a planner that starts again then knows nothing.
    }
  }
}

/** The deployment of this pod, which the operator names. Source: the planner of Dynamo 1.6.1. */
const DEPLOYMENT_VARIABLE = 'DYN_PARENT_DGD_K8S_NAME';

/** What scales the graph, and where its frontends are. */
interface Place {
  readonly scaler: Scaler;
  readonly frontends: readonly FrontendMetrics[] | (() => Promise<readonly FrontendMetrics[]>);
}

type Services = PlannedPools['services'];

/** The Kubernetes client is a large package, so it is loaded in a cluster only. */
async function kubernetesScaler(name: string, components: Services): Promise<Scaler> {
  const [{ KubernetesApi }, { Deployments }, { KubernetesScaler }] = await Promise.all([
    import('./kubernetes/api.js'),
    import('./kubernetes/deployments.js'),
    import('./kubernetes/scaler.js'),
  ]);
  const deployments = new Deployments(await KubernetesApi.fromConfig({ env: process.env }));
  return new KubernetesScaler({ deployments, name, components });
}

function localPlace(
  folder: string,
  graph: GraphSpec,
  name: string,
  services: Services,
  options: PlannerServiceOptions,
): Place {
  const { drainMs, frontends } = options;
  const scaler = new LocalScaler({
    folder,
    services,
    planner: name,
    ...(drainMs === undefined ? {} : { drainMs }),
  });
  const names = new Set(graph.services.filter(hasFrontendMetrics).map((one) => one.name));
  const running = async (): Promise<readonly string[]> => {
    const state = await scaler.state();
    const workers = state.services.filter((one) => names.has(one.name)).flatMap((one) => one.workers);
    return workers.flatMap(({ url }) => (url === undefined ? [] : [`${url}/metrics`]));
  };
  return { scaler, frontends: frontends ?? running };
}

/**
 * Runs the planner of a graph in a worker of `dynamo serve`. In a pod of a deployment it scales that deployment, else
 * the processes on this machine. Each decision is a line of the file `decisions.jsonl` in the run folder.
 *
 * @param folder the run folder
 * @throws TypeError, RangeError for faulty options of the planner
 * @throws DeployError if the cluster of the pod is not configured
 */
export async function startPlanner(
  folder: string,
  made: object,
  context: ServiceContext,
  graph: GraphSpec,
): Promise<StartedProgram> {
  const options = made as PlannerServiceOptions;
  const { service, worker, runtime } = context;
  const pools = plannedPools(service, graph, options);
  const deployment = process.env[DEPLOYMENT_VARIABLE] ?? '';
  const place =
    deployment === ''
      ? localPlace(folder, graph, `${service}#${worker}`, pools.services, options)
      : { scaler: await kubernetesScaler(deployment, pools.services), frontends: options.frontends ?? [] };
  const log = new LogFile(join(folder, DECISIONS), (message) => console.error(message));
  const stateFile = new StateFile(join(folder, PLANNER_STATE));
  const { planner, close } = await runPlanner(options, {
    ...{ pools, runtime, ...place },
    state: stateFile.read(),
    onDecision(record, { state }) {
      log.write(`${decisionLine(record)}\n`);
      stateFile.write(state);
      const told = toldOf(record);
      if (told !== undefined) console.log(told);
    },
  });
  return {
    async close() {
      await close();
      stateFile.write(planner.state, true);
      log.close();
    },
  };
}

/** A decision in words, if it changes something or if something has failed. */
function toldOf({ outcome, targets, snapshot, reasons, errors }: DecisionRecord): string | undefined {
  if (errors.length > 0) return errors.join('; ');
  if (outcome === 'unchanged') return undefined;
  const changes = Object.entries(targets).flatMap(([role, target]) => {
    const desired = snapshot.pools[role as keyof typeof targets]?.desired;
    if (target === desired) return [];
    const why = reasons.filter((reason) => reason.role === role).map(({ text }) => text);
    return [`${role} ${desired} to ${target}: ${why.join('; ')}`];
  });
  return `${outcome}: ${changes.join(', ')}`;
}
