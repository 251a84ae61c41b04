import type { PoolCounts, PoolRole, PortOptions, Scaler, Targets } from '../../planner/index.js';
import type { Deployments } from './deployments.js';

/** Which pods of a deployment are scaled. */
export interface KubernetesScalerOptions {
  readonly deployments: Deployments;
  /** The name of the deployment. */
  readonly name: string;
  /** The name of the component of each role. */
  readonly components: Readonly<Partial<Record<PoolRole, string>>>;
}

/**
 * Scales the pods of a `DynamoGraphDeployment`: through the scaling adapter of a component if it has one, else by the
 * deployment itself. A count that another program has changed in the meantime stays.
 */
export class KubernetesScaler implements Scaler {
  /** The counts that were seen last. */
  #seen: Readonly<Record<string, number>> = {};

  constructor(private readonly options: KubernetesScalerOptions) {}

  /** @throws DeployError as `Deployments.get` */
  async current({ signal }: PortOptions): Promise<Readonly<Partial<Record<PoolRole, PoolCounts>>>> {
    const { deployments, name } = this.options;
    const { status = {} } = await deployments.get(name, signal);
    const roles = Object.entries(this.options.components) as [PoolRole, string][];
    const desired = await deployments.replicas(
      name,
      roles.map(([, component]) => component),
      signal,
    );
    this.#seen = desired;
    const counts = roles.map(([role, component]) => {
      const { readyReplicas: ready = 0 } = status.components?.[component] ?? {};
      return [role, { desired: desired[component] ?? 0, ready }] as const;
    });
    return Object.fromEntries(counts);
  }

  /**
   * Resolves when the API server has the counts.
   *
   * @throws DeployError as `Deployments.scale`; `E_KUBERNETES_CONFLICT` (1) if a count has changed since `current`
   */
  async scale(targets: Targets, { signal }: PortOptions): Promise<void> {
    const { deployments, name, components } = this.options;
    const roles = Object.entries(components) as [PoolRole, string][];
    const counts = roles.flatMap(([role, component]) => {
      const target = targets[role];
      return target === undefined ? [] : [[component, target] as const];
    });
    await deployments.scale(name, Object.fromEntries(counts), { expected: this.#seen, signal });
  }
}
