import { checkString, wrongType } from '../../check.js';
import { badArgument } from '../../errors.js';
import { custom, listOf, type OptionTable, optionTable, stringMap, text } from '../../options.js';
import type { GraphSpec, ServiceSpec } from '../../sdk/graph-spec.js';
import type { ServiceRole } from '../../sdk/service-options.js';

/** The API version that this package writes and reads. */
export const API_VERSION = 'nvidia.com/v1beta1';

/** A variable of a container. */
export interface EnvironmentVariable {
  readonly name: string;
  readonly value: string;
}

/** The container `main` of a component. */
export interface ContainerSpec {
  readonly name: 'main';
  readonly image: string;
  readonly command?: readonly string[];
  readonly args: readonly string[];
  readonly env?: readonly EnvironmentVariable[];
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string>>;
    readonly limits?: Readonly<Record<string, string>>;
  };
}

/** One component of a deployment: the pods of one service. */
export interface ComponentSpec {
  readonly name: string;
  readonly type: ServiceRole;
  readonly replicas: number;
  /** Present if an autoscaler or a planner owns `replicas`. */
  readonly scalingAdapter?: Readonly<Record<string, never>>;
  readonly runtimeVersionOverride?: string;
  readonly podTemplate: {
    readonly metadata?: { readonly labels: Readonly<Record<string, string>> };
    readonly spec: { readonly containers: readonly ContainerSpec[] };
  };
}

/** What Dynamo's operator runs. Source: the custom resource `DynamoGraphDeployment` of `nvidia.com/v1beta1`. */
export interface DynamoGraphDeployment {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: 'DynamoGraphDeployment';
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly env?: readonly EnvironmentVariable[];
    readonly components: readonly ComponentSpec[];
  };
}

/** What a deployment has besides its graph. */
export interface ManifestOptions {
  /** The name of the deployment: a DNS label. */
  readonly name: string;
  /** The image of all services that name none. */
  readonly image?: string;
  /** Images by the name of a service, in place of `image` and of those that the services name. */
  readonly images?: Readonly<Record<string, string>>;
  /** The namespace of Kubernetes. @default that of the caller */
  readonly kubernetesNamespace?: string;
  /** Variables of all containers. */
  readonly env?: Readonly<Record<string, string>>;
  /** The version of Dynamo in `image`, such as `1.6.1`. The operator reads it from the tag of an image otherwise. */
  readonly runtimeVersion: string;
  /** Services whose number of pods another program owns. @default all workers, if the graph has a planner */
  readonly scaled?: readonly string[];
}

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const MAX_LABEL_CHARACTERS = 63;

function checkLabel(path: string, value: unknown): asserts value is string {
  if (typeof value !== 'string' || !LABEL.test(value) || value.length > MAX_LABEL_CHARACTERS)
    wrongType(path, `a name of a-z, 0-9 and -, at most ${MAX_LABEL_CHARACTERS} characters`, value);
}

const IMAGE = /^[a-zA-Z0-9][\w.-]*(:\d+)?(\/[\w.-]+)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$/;

function checkImage(path: string, value: unknown): asserts value is string {
  if (typeof value !== 'string' || !IMAGE.test(value)) wrongType(path, 'an image such as registry/name:tag', value);
}

/** Variables of containers have the names of C. */
function checkVariables(path: string, value: unknown): void {
  stringMap.check(path, value);
  const wrong = Object.keys(value as object).find((name) => !/^[A-Za-z_][\w.-]*$/.test(name));
  if (wrong !== undefined) wrongType(path, 'names of environment variables', wrong);
}

const SEMVER = /^v?\d+\.\d+\.\d+([-+.].*)?$/;

function checkVersion(path: string, value: unknown): void {
  checkString(path, value);
  if (!SEMVER.test(value)) wrongType(path, 'a version such as 1.6.1', value);
}

const OPTIONS: OptionTable<ManifestOptions> = optionTable<ManifestOptions>({
  name: custom<string>('a DNS label', checkLabel, 'text').required().about('The name of the deployment.'),
  image: custom<string>('an image', checkImage, 'text').about('The image of all services that name none.'),
  images: custom<Readonly<Record<string, string>>>('images by service', stringMap.check).about('Images by service.'),
  kubernetesNamespace: custom<string>('a DNS label', checkLabel, 'text').about('The namespace of Kubernetes.'),
  env: custom<Readonly<Record<string, string>>>('variables', checkVariables).about('Variables of all containers.'),
  runtimeVersion: custom<string>('a version', checkVersion, 'text').required().about('The version of Dynamo.'),
  scaled: listOf(text).about('Services whose number of pods another program owns.'),
});

/** The longest variable that Linux gives to a program. */
const MAX_VARIABLE_BYTES = 128 * 1024;

/**
 * The deployment of a graph for Dynamo's operator. The same input gives the same result.
 *
 * Each service is a component with one worker a pod. A service in TypeScript runs `dynamo serve` in the image of the
 * graph. A Python service runs `python3 -m MODULE` in its image.
 *
 * @throws TypeError, RangeError for a wrong option, for a service without an image, and for a configuration that is too
 *   large for a variable
 */
export function manifestOf(graph: GraphSpec, options: ManifestOptions): DynamoGraphDeployment {
  OPTIONS.check('manifest options', options);
  const { name, kubernetesNamespace, env = {}, images = {} } = options;
  const names = graph.services.map((service) => service.name);
  for (const [path, listed] of [
    ['images', Object.keys(images)],
    ['scaled', options.scaled ?? []],
  ] as const) {
    const unknown = listed.find((one) => !names.includes(one));
    if (unknown !== undefined) wrongType(`manifest options.${path}`, `names of services: ${names.join(', ')}`, unknown);
  }
  const scaled = options.scaled ?? scaledByPlanner(graph);
  const variables = { ...configurationOf(graph), ...env };
  return {
    apiVersion: API_VERSION,
    kind: 'DynamoGraphDeployment',
    metadata: {
      name,
      ...(kubernetesNamespace === undefined ? {} : { namespace: kubernetesNamespace }),
      labels: { 'app.kubernetes.io/managed-by': 'dynamo-node' },
    },
    spec: {
      ...(Object.keys(variables).length === 0 ? {} : { env: variablesOf(variables) }),
      components: [...graph.services].reverse().map((one) => componentOf(one, scaled.includes(one.name), options)),
    },
  };
}

const variablesOf = (variables: Readonly<Record<string, string>>): EnvironmentVariable[] =>
  Object.entries(variables).map(([name, value]) => ({ name, value }));

/** A planner changes the numbers of workers, so nothing else may. */
function scaledByPlanner({ services }: GraphSpec): readonly string[] {
  if (!services.some(({ role }) => role === 'planner')) return [];
  return services.filter(({ role }) => role !== 'planner' && role !== 'frontend').map(({ name }) => name);
}

/**
 * The configuration of the services for `dynamo serve`, which starts one worker in each pod. The code may have other
 * numbers of workers and GPUs than the manifest.
 */
function configurationOf({ services }: GraphSpec): Readonly<Record<string, string>> {
  const sections = services
    .filter(({ python }) => python === undefined)
    .map(({ name, resources, config }) => {
      const ServiceArgs = { workers: 1, resources: { gpu: resources.gpu } };
      return [name, { ...config, ServiceArgs }] as const;
    });
  if (sections.length === 0) return {};
  const value = JSON.stringify(Object.fromEntries(sections));
  if (new TextEncoder().encode(value).length >= MAX_VARIABLE_BYTES)
    throw badArgument(
      new RangeError(`the configuration: expected less than 128 KiB of JSON, got ${value.length} characters`),
    );
  // Kubernetes replaces $(NAME) in a value and reads $$( as $(.
  return { DYN_DEPLOYMENT_CONFIG: value.replaceAll('$(', '$$$$(') };
}

function componentOf(service: ServiceSpec, isScaled: boolean, options: ManifestOptions): ComponentSpec {
  const { name, role, workers, labels } = service;
  const image = imageOf(service, options);
  const container: ContainerSpec = {
    name: 'main',
    image,
    ...programOf(service),
    ...(Object.keys(service.env).length === 0 ? {} : { env: variablesOf(service.env) }),
    ...resourcesOf(service),
  };
  const hasVersion = service.python !== undefined && SEMVER.test(image.split(':').pop() ?? '');
  return {
    name,
    type: role,
    replicas: workers,
    ...(isScaled ? { scalingAdapter: {} } : {}),
    ...(hasVersion ? {} : { runtimeVersionOverride: options.runtimeVersion }),
    podTemplate: {
      ...(Object.keys(labels).length === 0 ? {} : { metadata: { labels } }),
      spec: { containers: [container] },
    },
  };
}

/** The image of the graph has no Python, so a Python service must name its own. */
function imageOf({ name, image, python }: ServiceSpec, options: ManifestOptions): string {
  const found = options.images?.[name] ?? image ?? (python === undefined ? options.image : undefined);
  const path = `image of ${name}`;
  if (found === undefined && python !== undefined)
    wrongType(path, `an image with Python and ${python.module}, in the options of the service or by name`, found);
  checkImage(path, found);
  return found;
}

function programOf({ name, python }: ServiceSpec): Pick<ContainerSpec, 'command' | 'args'> {
  if (python === undefined) return { args: ['serve', '.', '--service-name', name] };
  return { command: ['python3', '-m', python.module], args: python.args };
}

/** A part of a GPU takes a whole one: Kubernetes does not divide them. */
function resourcesOf({ resources: { cpu, memory, gpu } }: ServiceSpec): Pick<ContainerSpec, 'resources'> {
  const requests = { ...(cpu === undefined ? {} : { cpu }), ...(memory === undefined ? {} : { memory }) };
  const limits = { ...requests, ...(gpu === 0 ? {} : { 'nvidia.com/gpu': String(Math.ceil(gpu)) }) };
  if (Object.keys(limits).length === 0) return {};
  return { resources: { ...(Object.keys(requests).length === 0 ? {} : { requests }), limits } };
}
