import { checkName, checkObject, wrongType } from '../check.js';
import {
  boolean,
  custom,
  integer,
  listOf,
  nested,
  number,
  type OptionTable,
  oneOf,
  optionTable,
  stringMap,
  text,
} from '../options.js';
import type { EndpointTransport, HttpMethod } from './endpoint-definition.js';
import type { ServiceProgram } from './program.js';
import { DEPENDENCY_MODES, type DependencyMode } from './service.js';
import { checkServiceName, type ServiceRole } from './service-options.js';

/** The version of the format of a `GraphSpec`. */
export const GRAPH_SCHEMA = 'dynamo-node.graph/v1';

/** One endpoint of a `ServiceSpec`. */
export interface EndpointSpec {
  readonly name: string;
  readonly stream: boolean;
  readonly transports: readonly EndpointTransport[];
  readonly httpMethod?: HttpMethod;
}

/** One dependency of a `ServiceSpec`. */
export interface DependencySpec {
  /** The field or name that holds the client. */
  readonly property: string;
  /** The service that serves it. */
  readonly service: string;
  readonly mode: DependencyMode;
  /** Only of the mode `kv`. */
  readonly blockSize?: number;
}

/** What one worker needs; `gpu` is 0 for none. */
export interface ResourcesSpec {
  readonly cpu?: string;
  readonly memory?: string;
  readonly gpu: number;
}

/** The Python program of a service. */
export interface PythonSpec {
  readonly module: string;
  readonly args: readonly string[];
}

/** One service of a `GraphSpec`. */
export interface ServiceSpec {
  readonly name: string;
  readonly namespace: string;
  readonly component: string;
  readonly role: ServiceRole;
  readonly program: Exclude<ServiceProgram['kind'], 'abstract'>;
  readonly python?: PythonSpec;
  readonly endpoints: readonly EndpointSpec[];
  readonly dependencies: readonly DependencySpec[];
  readonly resources: ResourcesSpec;
  /** The number of worker processes or pods. */
  readonly workers: number;
  /** The port of its HTTP endpoints and probes, if it serves HTTP. */
  readonly httpPort?: number;
  readonly image?: string;
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * A graph as plain data. `dynamo build` writes it; `dynamo serve`, `dynamo deploy` and the planner read it. Services
 * come after those that they depend on.
 */
export interface GraphSpec {
  readonly schema: typeof GRAPH_SCHEMA;
  readonly name: string;
  /** The service that receives the requests of users. */
  readonly entry: string;
  readonly services: readonly ServiceSpec[];
}

/**
 * Whether the HTTP server of a service has the metrics of Dynamo's frontend. That of a service of code has only its own
 * endpoints, whatever its role.
 */
export const hasFrontendMetrics = ({ role, program }: ServiceSpec): boolean =>
  role === 'frontend' && program !== 'code';

const ENDPOINT: OptionTable<EndpointSpec> = optionTable<EndpointSpec>({
  name: text.required(),
  stream: boolean.required(),
  transports: listOf(oneOf('dynamo', 'http')).required(),
  httpMethod: oneOf('GET', 'POST', 'PUT', 'PATCH', 'DELETE'),
});

const DEPENDENCY: OptionTable<DependencySpec> = optionTable<DependencySpec>({
  property: text.required(),
  service: text.required(),
  mode: oneOf(...DEPENDENCY_MODES).required(),
  blockSize: integer(1),
});

const RESOURCES: OptionTable<ResourcesSpec> = optionTable<ResourcesSpec>({
  cpu: text,
  memory: text,
  gpu: number(0).required(),
});

const PYTHON: OptionTable<PythonSpec> = optionTable<PythonSpec>({
  module: text.required(),
  args: listOf(text).required(),
});

const SERVICE: OptionTable<ServiceSpec> = optionTable<ServiceSpec>({
  name: text.required(),
  namespace: text.required(),
  component: text.required(),
  role: oneOf('frontend', 'worker', 'prefill', 'decode', 'planner').required(),
  program: oneOf('code', 'engine', 'builtIn', 'frontend', 'planner', 'python').required(),
  python: nested(PYTHON),
  endpoints: listOf(nested(ENDPOINT)).required(),
  dependencies: listOf(nested(DEPENDENCY)).required(),
  resources: nested(RESOURCES).required(),
  workers: integer(0).required(),
  httpPort: integer(0, 65_535),
  image: text,
  env: stringMap.required(),
  labels: stringMap.required(),
  config: custom<Readonly<Record<string, unknown>>>('an object', checkObject).required(),
});

const GRAPH: OptionTable<GraphSpec> = optionTable<GraphSpec>({
  schema: oneOf(GRAPH_SCHEMA).required(),
  name: text.required(),
  entry: text.required(),
  services: listOf(nested(SERVICE)).required(),
});

/**
 * Checks that a value, such as the content of a file, is a `GraphSpec`.
 *
 * @throws TypeError, RangeError that names the field
 */
export function checkGraphSpec(path: string, value: unknown): asserts value is GraphSpec {
  GRAPH.check(path, value);
  const { name, entry, services } = value;
  checkServiceName(`${path}.name`, name);
  const names = services.map((service) => service.name);
  const checkReference = (at: string, service: string): void => {
    if (!names.includes(service)) wrongType(at, `one of the services ${names.join(', ')}`, service);
  };
  checkReference(`${path}.entry`, entry);
  services.forEach((service, index) => {
    const at = `${path}.services[${index}]`;
    checkServiceName(`${at}.name`, service.name);
    checkName(`${at}.namespace`, service.namespace);
    checkName(`${at}.component`, service.component);
    if (names.indexOf(service.name) !== index)
      wrongType(`${at}.name`, 'a name that no other service has', service.name);
    if ((service.program === 'python') !== (service.python !== undefined))
      wrongType(`${at}.python`, 'a module if and only if the program is python', service.python);
    service.dependencies.forEach((one, of) => checkReference(`${at}.dependencies[${of}].service`, one.service));
  });
}
