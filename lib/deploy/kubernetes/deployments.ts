import { setTimeout as sleep } from 'node:timers/promises';

import { DeployError } from '../deploy-error.js';
import type { KubernetesApi } from './api.js';
import { KubernetesError } from './api-error.js';
import { API_VERSION, type DynamoGraphDeployment } from './manifest.js';
import { type LiveDeployment, type Readiness, readinessOf, withLiveReplicas } from './status.js';

/** The owner of the fields that this package applies. */
export const FIELD_MANAGER = 'dynamo-node';

/** How a deployment is applied. */
export interface ApplyOptions {
  /** Whether it must exist, or must not. @default either */
  readonly exists?: boolean;
  /** Let the server check it and store nothing. @default false */
  readonly dryRun?: boolean;
  /** Take fields over that another program owns. @default false */
  readonly force?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** How numbers of pods are set. */
export interface ScaleOptions {
  /** The numbers that the caller has seen, by the name of a component. One that differs is not changed. */
  readonly expected?: Readonly<Record<string, number>>;
  readonly signal?: AbortSignal | undefined;
}

/** The scale of a scaling adapter. */
interface Scale {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly spec?: { readonly replicas?: number };
}

/** How long to wait for a deployment. */
export interface ReadyWaitOptions {
  readonly timeoutMs: number;
  /** @default 2000 */
  readonly pollMs?: number;
  /** Called when what is missing has changed. */
  readonly onProgress?: (readiness: Readiness) => void;
  readonly signal?: AbortSignal | undefined;
}

/** The component of one pod of a deployment. */
export interface DeploymentPod {
  readonly name: string;
  readonly component: string;
}

const DEPLOYMENTS = 'dynamographdeployments';
const ADAPTERS = 'dynamographdeploymentscalingadapters';
const POLL_MS = 2000;
/** A scaled number of pods may change between the read and the apply. */
const MAX_APPLIES = 5;

/** Labels that the operator gives to pods. */
const LABEL_DEPLOYMENT = 'nvidia.com/dynamo-graph-deployment-name';
const LABEL_COMPONENT = 'nvidia.com/dynamo-component';

const notFound = (name: string): DeployError =>
  new DeployError('E_DEPLOYMENT_NOT_FOUND', `Deployment '${name}' not found.`, { exitCode: 66 });

const isNotFound = (error: unknown): boolean =>
  error instanceof KubernetesError && error.code === 'E_KUBERNETES_NOT_FOUND';

/** Errors that the next attempt may not have. */
const TRANSIENT = new Set(['E_KUBERNETES_TIMEOUT', 'E_KUBERNETES_UNREACHABLE', 'E_KUBERNETES_UNAVAILABLE']);

/** The `DynamoGraphDeployment` objects of a namespace. */
export class Deployments {
  constructor(readonly api: KubernetesApi) {}

  #path(name?: string): string {
    const folder = `/apis/${API_VERSION}/namespaces/${encodeURIComponent(this.api.namespace)}/${DEPLOYMENTS}`;
    return name === undefined ? folder : `${folder}/${encodeURIComponent(name)}`;
  }

  /** @throws DeployError as `KubernetesApi.request` */
  async list(): Promise<readonly LiveDeployment[]> {
    const { items = [] } = (await this.api.request(this.#path())) as { items?: readonly LiveDeployment[] };
    return items;
  }

  /** The deployment, or undefined if it does not exist. */
  async find(name: string, signal?: AbortSignal): Promise<LiveDeployment | undefined> {
    try {
      return (await this.api.request(this.#path(name), { signal })) as LiveDeployment;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** @throws DeployError `E_DEPLOYMENT_NOT_FOUND` (66) if it does not exist */
  async get(name: string, signal?: AbortSignal): Promise<LiveDeployment> {
    const found = await this.find(name, signal);
    if (found === undefined) throw notFound(name);
    return found;
  }

  /**
   * Creates or changes a deployment with a server-side apply. Numbers of pods that a scaling adapter owns stay.
   *
   * @throws DeployError `E_DEPLOYMENT_EXISTS` (73) or `E_DEPLOYMENT_NOT_FOUND` (66) by `exists`,
   *   `E_KUBERNETES_CONFLICT` (1) for fields of another owner, `E_KUBERNETES_INVALID` (65) with the fields
   */
  async apply(wanted: DynamoGraphDeployment, options: ApplyOptions = {}): Promise<LiveDeployment> {
    const { name } = wanted.metadata;
    for (let attempt = 1; ; attempt++) {
      const live = await this.find(name, options.signal);
      if (live === undefined && options.exists === true) throw notFound(name);
      if (live !== undefined && options.exists === false)
        throw new DeployError(
          'E_DEPLOYMENT_EXISTS',
          `Cannot create deployment because deployment with name '${name}' already exists.`,
          { exitCode: 73, hint: `Change it: dynamo deployment update ${name} ...` },
        );
      try {
        return await this.#apply(live === undefined ? wanted : withLiveReplicas(wanted, live), options);
      } catch (error) {
        if (attempt === MAX_APPLIES || !isScaleConflict(error)) throw explained(error);
      }
    }
  }

  async #apply(body: DynamoGraphDeployment, { dryRun = false, force = false, signal }: ApplyOptions) {
    const query = {
      fieldManager: FIELD_MANAGER,
      fieldValidation: 'Strict',
      force: String(force),
      ...(dryRun ? { dryRun: 'All' } : {}),
    };
    const contentType = 'application/apply-patch+yaml';
    const path = this.#path(body.metadata.name);
    return (await this.api.request(path, { method: 'PATCH', body, contentType, query, signal })) as LiveDeployment;
  }

  /** @throws DeployError `E_DEPLOYMENT_NOT_FOUND` (66) if it does not exist */
  async delete(name: string): Promise<void> {
    try {
      await this.api.request(this.#path(name), { method: 'DELETE' });
    } catch (error) {
      throw isNotFound(error) ? notFound(name) : error;
    }
  }

  /**
   * Sets numbers of pods, through the scaling adapter of a component if it has one.
   *
   * @param counts by the name of a component
   * @throws DeployError `E_NO_COMPONENT` (64) that lists the components, `E_DEPLOYMENT_NOT_FOUND` (66),
   *   `E_KUBERNETES_CONFLICT` (1) for a number that is not the expected one
   */
  async scale(name: string, counts: Readonly<Record<string, number>>, options: ScaleOptions = {}): Promise<void> {
    const components = await this.#components(name, Object.keys(counts), options.signal);
    for (const [component, replicas] of Object.entries(counts)) {
      const index = components.findIndex((one) => one.name === component);
      const hasAdapter = components[index]?.scalingAdapter !== undefined;
      if (hasAdapter && (await this.#scaleAdapter(name, component, replicas, options))) continue;
      await this.#scaleComponent(name, index, component, replicas, options);
    }
  }

  /**
   * The numbers of pods that were set last, by the name of a component: that of the scaling adapter if there is one.
   *
   * @throws DeployError as `scale`
   */
  async replicas(
    name: string,
    names: readonly string[],
    signal?: AbortSignal,
  ): Promise<Readonly<Record<string, number>>> {
    const components = await this.#components(name, names, signal);
    const counts = names.map(async (component) => {
      const found = components.find((one) => one.name === component);
      const scale = found?.scalingAdapter === undefined ? undefined : await this.#scaleOf(name, component, signal);
      return [component, scale?.spec?.replicas ?? found?.replicas ?? 0] as const;
    });
    return Object.fromEntries(await Promise.all(counts));
  }

  async #components(name: string, names: readonly string[], signal: AbortSignal | undefined) {
    const { components } = (await this.get(name, signal)).spec;
    const unknown = names.find((one) => !components.some((component) => component.name === one));
    if (unknown === undefined) return components;
    const known = components.map((component) => component.name).join(', ');
    const message = `deployment ${name} has no component '${unknown}'; its components are ${known}`;
    throw new DeployError('E_NO_COMPONENT', message, { exitCode: 64 });
  }

  /** The name is tested, because the list may have changed in the meantime. */
  async #scaleComponent(
    name: string,
    index: number,
    component: string,
    replicas: number,
    { expected = {}, signal }: ScaleOptions,
  ): Promise<void> {
    const path = `/spec/components/${index}`;
    const seen = expected[component];
    await this.api.request(this.#path(name), {
      method: 'PATCH',
      contentType: 'application/json-patch+json',
      query: { fieldManager: FIELD_MANAGER },
      body: [
        { op: 'test', path: `${path}/name`, value: component },
        ...(seen === undefined ? [] : [{ op: 'test', path: `${path}/replicas`, value: seen }]),
        { op: 'add', path: `${path}/replicas`, value: replicas },
      ],
      signal,
    });
  }

  #scalePath(name: string, component: string): string {
    const adapter = encodeURIComponent(`${name}-${component.toLowerCase()}`);
    return `${this.#path().replace(DEPLOYMENTS, ADAPTERS)}/${adapter}/scale`;
  }

  /** Undefined if the operator has made no adapter. */
  async #scaleOf(name: string, component: string, signal: AbortSignal | undefined): Promise<Scale | undefined> {
    try {
      return (await this.api.request(this.#scalePath(name, component), { signal })) as Scale;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Returns whether there is an adapter. */
  async #scaleAdapter(
    name: string,
    component: string,
    replicas: number,
    { expected = {}, signal }: ScaleOptions,
  ): Promise<boolean> {
    const seen = expected[component];
    const scale = await this.#scaleOf(name, component, signal);
    if (scale === undefined) return false;
    if (seen !== undefined && scale.spec?.replicas !== seen) {
      const message = `${component}: another program has set ${scale.spec?.replicas} instead of ${seen}`;
      throw new DeployError('E_KUBERNETES_CONFLICT', message);
    }
    // The version makes the server refuse the change if another one comes between.
    const { resourceVersion } = scale.metadata ?? {};
    const version = seen === undefined || resourceVersion === undefined ? {} : { metadata: { resourceVersion } };
    await this.api.request(this.#scalePath(name, component), {
      method: 'PATCH',
      contentType: 'application/merge-patch+json',
      query: { fieldManager: FIELD_MANAGER },
      body: { ...version, spec: { replicas } },
      signal,
    });
    return true;
  }

  /**
   * Waits until a deployment is ready or has failed, or until the time is over. Goes on if the server cannot answer for
   * a while.
   *
   * @throws DeployError `E_DEPLOYMENT_NOT_FOUND` (66) if it is deleted in the meantime
   * @throws the reason of `signal`
   */
  async waitUntilReady(
    name: string,
    { timeoutMs, pollMs = POLL_MS, onProgress, signal }: ReadyWaitOptions,
  ): Promise<Readiness> {
    const end = Date.now() + timeoutMs;
    let last: Readiness | undefined;
    for (;;) {
      const readiness = await this.#readiness(name, signal);
      if (readiness.summary !== last?.summary) onProgress?.(readiness);
      last = readiness;
      const left = end - Date.now();
      if (readiness.phase !== 'waiting' || left <= 0) return readiness;
      await sleep(Math.min(pollMs, left), undefined, signal === undefined ? {} : { signal });
    }
  }

  async #readiness(name: string, signal: AbortSignal | undefined): Promise<Readiness> {
    try {
      return readinessOf(await this.get(name, signal));
    } catch (error) {
      if (error instanceof DeployError && TRANSIENT.has(error.code))
        return { phase: 'waiting', summary: error.message };
      throw error;
    }
  }

  /** The pods of a deployment, by component and name. */
  async pods(name: string, component?: string): Promise<readonly DeploymentPod[]> {
    const labels = { [LABEL_DEPLOYMENT]: name, ...(component === undefined ? {} : { [LABEL_COMPONENT]: component }) };
    const labelSelector = Object.entries(labels)
      .map(([label, value]) => `${label}=${value}`)
      .join(',');
    const { items = [] } = (await this.api.request(this.#pods(), { query: { labelSelector } })) as {
      items?: readonly { metadata: { name: string; labels?: Record<string, string> } }[];
    };
    return items
      .map(({ metadata }) => ({ name: metadata.name, component: metadata.labels?.[LABEL_COMPONENT] ?? '' }))
      .sort((a, b) => a.component.localeCompare(b.component) || a.name.localeCompare(b.name));
  }

  /** The lines of the log of one pod. */
  logs(
    pod: string,
    options: { readonly follow?: boolean; readonly tail?: number; readonly signal?: AbortSignal } = {},
  ) {
    const { follow = false, tail, signal } = options;
    const query = {
      container: 'main',
      follow: String(follow),
      ...(tail === undefined ? {} : { tailLines: String(tail) }),
    };
    return this.api.lines(`${this.#pods()}/${encodeURIComponent(pod)}/log`, { query, signal: signal });
  }

  #pods(): string {
    return `/api/v1/namespaces/${encodeURIComponent(this.api.namespace)}/pods`;
  }
}

/** A conflict about nothing but numbers of pods. */
const isScaleConflict = (error: unknown): boolean =>
  error instanceof KubernetesError &&
  error.status === 409 &&
  error.fields.length > 0 &&
  error.fields.every((field) => field.endsWith('.replicas'));

function explained(error: unknown): unknown {
  if (!(error instanceof KubernetesError) || error.status !== 409 || error.fields.length === 0) return error;
  return new KubernetesError(error.code, error.message, 409, error.statusReason, error.fields, {
    hint: 'Another program owns these fields. Take them over with --force-conflicts.',
  });
}
