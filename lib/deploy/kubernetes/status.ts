import type { DynamoGraphDeployment } from './manifest.js';

/** The pods of a component. */
export interface ComponentStatus {
  readonly replicas?: number;
  readonly readyReplicas?: number;
}

/** What the operator reports about a deployment. */
export interface DeploymentStatus {
  readonly state?: string;
  readonly observedGeneration?: number;
  readonly conditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason?: string;
    readonly message?: string;
  }[];
  readonly components?: Readonly<Record<string, ComponentStatus>>;
}

/** A deployment as the API server has it. */
export interface LiveDeployment extends Omit<DynamoGraphDeployment, 'metadata'> {
  readonly metadata: DynamoGraphDeployment['metadata'] & {
    readonly generation?: number;
    readonly creationTimestamp?: string;
  };
  readonly status?: DeploymentStatus;
}

/** Whether a deployment serves, and what is missing. */
export interface Readiness {
  readonly phase: 'ready' | 'failed' | 'waiting';
  /** Such as `Frontend 1/1, Worker 0/2 (pods_not_ready: waiting for GPUs)`. */
  readonly summary: string;
}

/**
 * Whether a deployment is ready. A status counts only if the operator has seen the present generation.
 */
export function readinessOf({ metadata, spec, status = {} }: LiveDeployment): Readiness {
  const ready = status.conditions?.find(({ type }) => type === 'Ready');
  const isCurrent = (status.observedGeneration ?? -1) >= (metadata.generation ?? 0);
  const counts = spec.components.map(({ name, replicas }) => {
    const { readyReplicas = 0, replicas: wanted = replicas } = status.components?.[name] ?? {};
    return `${name} ${readyReplicas}/${wanted}`;
  });
  const why = [ready?.reason, ready?.message].filter((part) => part !== undefined && part !== '').join(': ');
  const note = isCurrent ? why : 'the operator has not seen it yet';
  const isReady = isCurrent && ready?.status === 'True';
  const phase = isReady ? 'ready' : isCurrent && status.state === 'failed' ? 'failed' : 'waiting';
  return { phase, summary: counts.join(', ') + (isReady || note === '' ? '' : ` (${note})`) };
}

/**
 * The deployment to apply over a live one: another program owns the numbers of pods of components with a scaling
 * adapter, so they stay as they are.
 */
export function withLiveReplicas(wanted: DynamoGraphDeployment, live: LiveDeployment): DynamoGraphDeployment {
  const components = wanted.spec.components.map((component) => {
    const existing = live.spec.components.find(({ name }) => name === component.name);
    const isScaled = existing !== undefined && (existing.scalingAdapter ?? component.scalingAdapter) !== undefined;
    return isScaled ? { ...component, replicas: existing.replicas } : component;
  });
  return { ...wanted, spec: { ...wanted.spec, components } };
}
