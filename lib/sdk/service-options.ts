import { checkName, wrongType } from '../check.js';
import { custom, integer, nested, type OptionTable, oneOf, optionTable, stringMap, text } from '../options.js';
import type { Schema } from './schema.js';

/** The part that a service has in a graph. Kubernetes and the planner treat each differently. */
export type ServiceRole = 'frontend' | 'worker' | 'prefill' | 'decode' | 'planner';

/** What one worker of a service needs. */
export interface Resources {
  /** Kubernetes only: cores (`3`) or thousandths of one (`300m`). @default none */
  readonly cpu?: string;
  /** Kubernetes only: bytes with a unit, such as `10Gi`. @default none */
  readonly memory?: string;
  /** GPUs: a whole number, or a fraction below 1 that shares a GPU on one machine. @default 0 */
  readonly gpu?: number;
}

/** The options of every service. */
export interface ServiceOptions {
  /** Unique in its graph, whatever its case. @default the name of the class */
  readonly name?: string;
  /** Its component in Dynamo's addresses. @default its name in lower case */
  readonly component?: string;
  /** @default 'dynamo' */
  readonly namespace?: string;
  /** @default 'worker' */
  readonly role?: ServiceRole;
  readonly resources?: Resources;
  /** The number of worker processes. @default 1 */
  readonly workers?: number;
  /** The container image, if it is not that of the graph. */
  readonly image?: string;
  /** Environment variables of its workers. */
  readonly env?: Readonly<Record<string, string>>;
  /** Labels of its pods. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The schema of its configuration. @default any object */
  readonly config?: Schema;
  /**
   * The port of its HTTP endpoints and probes; 0 for any free one. Each further worker takes the next port. The
   * variable `DYNAMO_PORT` replaces it. @default 8000 if it has an endpoint with the transport `http`, else none
   */
  readonly httpPort?: number;
  /** The address on which HTTP is served. The variable `DYNAMO_HOST` replaces it. @default '127.0.0.1' */
  readonly httpHost?: string;
}

/** More workers of one service are a mistake. @internal */
export const MAX_WORKERS = 1024;

const NAME = /^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$/;
const MAX_NAME_CHARACTERS = 63;

/** The rule for the names of services and graphs. They become parts of names in Kubernetes and of paths. */
export function checkServiceName(path: string, name: unknown): asserts name is string {
  if (typeof name !== 'string' || !NAME.test(name) || name.length > MAX_NAME_CHARACTERS)
    wrongType(path, `letters, digits and hyphens, at most ${MAX_NAME_CHARACTERS}, no hyphen at an end`, name);
}

/** A string that matches a pattern, described with two examples. */
const matching = (expected: string, pattern: RegExp) =>
  custom<string>(
    expected,
    (path, value) => {
      if (typeof value !== 'string' || !pattern.test(value)) wrongType(path, expected, value);
    },
    'text',
  );

function checkGpus(path: string, value: unknown): void {
  const isAmount = typeof value === 'number' && value >= 0 && (value < 1 || Number.isInteger(value));
  if (!isAmount) wrongType(path, 'a whole number of GPUs, or a fraction below 1', value);
}

function checkSchema(path: string, value: unknown): void {
  const isSchema = (typeof value === 'object' || typeof value === 'function') && value !== null && '~standard' in value;
  if (!isSchema) wrongType(path, 'a Standard Schema, such as one of zod', value);
}

/** @internal */
export const schemaRow = custom<Schema>('a Standard Schema', checkSchema);

/** @internal */
export const RESOURCES: OptionTable<Resources> = optionTable<Resources>({
  cpu: matching("a CPU amount like '3' or '300m'", /^\d+m?$/).about('Cores, or thousandths of one (Kubernetes).'),
  memory: matching("a memory amount like '10Gi' or '1024Mi'", /^\d+(Ki|Mi|Gi|Ti|Pi|Ei|K|M|G|T|P|E)?$/).about(
    'Bytes with a unit (Kubernetes).',
  ),
  gpu: custom<number>('a whole number of GPUs, or a fraction below 1', checkGpus, 'number').about('GPUs of a worker.'),
});

/** @internal */
export const SERVICE_OPTIONS: OptionTable<ServiceOptions> = optionTable<ServiceOptions>({
  name: custom<string>('a service name', checkServiceName, 'text').about('The name of the service.'),
  component: custom<string>('a component name', checkName, 'text').about('Its component in Dynamo addresses.'),
  namespace: custom<string>('a namespace name', checkName, 'text').about('The namespace of its component.'),
  role: oneOf('frontend', 'worker', 'prefill', 'decode', 'planner').about('The part that it has in the graph.'),
  resources: nested(RESOURCES).about('What one worker needs.'),
  workers: integer(0, MAX_WORKERS).about('The number of worker processes.'),
  image: text.about('The container image.'),
  env: stringMap.about('Environment variables of its workers.'),
  labels: stringMap.about('Labels of its pods.'),
  config: schemaRow.about('The schema of its configuration.'),
  httpPort: integer(0, 65_535).about('The port of its HTTP endpoints.'),
  httpHost: text.about('The address on which HTTP is served.'),
});
