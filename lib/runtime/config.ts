import { checkInteger, checkObject, checkOptions, checkOneOf, checkString } from '../addon/check.js';

/** Where instances are registered and found. */
export type Discovery =
  | { kind: 'mem' }
  /** A folder shared by the processes of one machine; `$DYN_FILE_KV` or a temporary folder where `dir` is not given. */
  | { kind: 'file'; dir?: string }
  /** `endpoints` default to `$ETCD_ENDPOINTS`; the lease to `$ETCD_LEASE_TTL` or 30 s. */
  | { kind: 'etcd'; endpoints?: readonly string[]; leaseTtlSeconds?: number }
  /**
   * The Kubernetes API of the cluster that this process runs in, which needs `$POD_NAME` and `$POD_UID` (`$POD_NAMESPACE` is
   * `default`). `mode` tells whether a pod or each of its containers (`$CONTAINER_NAME`) is a worker; *process*,
   * `$DYN_KUBE_DISCOVERY_MODE`. Fails with `DYN_UNAVAILABLE` elsewhere.
   */
  | { kind: 'kubernetes'; mode?: 'pod' | 'container' };

/**
 * How a runtime is made. What is left out comes from the environment variable named here, else from Dynamo's default.
 *
 * Options marked *process* are read once by the crates and hold for the life of the process: a second runtime that asks for
 * another value is refused with `DYN_CONFLICT`.
 */
export interface RuntimeOptions {
  /** `$DYN_DISCOVERY_BACKEND`. @default etcd */
  readonly discovery?: Discovery;
  /** `$DYN_REQUEST_PLANE`. @default 'tcp' */
  readonly requestPlane?: 'tcp' | 'nats';
  /** `$DYN_RESPONSE_PLANE`; callers and workers must use the same. @default 'tcp' */
  readonly responsePlane?: 'tcp' | 'quic';
  /** `$DYN_EVENT_PLANE`. @default 'zmq' */
  readonly eventPlane?: 'zmq' | 'nats';
  /** Codec that this process's endpoints advertise. *Process*, `$DYN_REQUEST_PLANE_CODEC`. @default 'msgpack' */
  readonly codec?: 'msgpack' | 'json';
  /**
   * The address that requests, responses and events are served on and advertised with: an IP address or an interface.
   * *Process*, `$DYN_TCP_RPC_HOST`, `$DYN_TCP_RESPONSE_STREAM_HOST`, `$DYN_EVENT_PLANE_HOST`. @default the first that is not loopback
   */
  readonly host?: string;
  /** NATS, where a plane uses it, such as `nats://127.0.0.1:4222`. *Process*, `$NATS_SERVER`. */
  readonly natsServer?: string;
  /** Port of the status server: 0 for any, -1 for none. *Process*, `$DYN_SYSTEM_PORT`. @default -1 */
  readonly systemPort?: number;
  /** *Process*, `$DYN_SYSTEM_HOST`. @default '0.0.0.0' */
  readonly systemHost?: string;
  /** Threads of the native runtime. *Process*, `$DYN_RUNTIME_NUM_WORKER_THREADS`. @default the number of cores */
  readonly workerThreads?: number;
  /** How long a failed instance is passed over, in seconds; 0 for not at all. *Process*, `$DYN_RUNTIME_INHIBITED_DURATION_SECS`. @default 5 */
  readonly inhibitedSeconds?: number;
  /** The largest request or response item. *Process*, `$DYN_TCP_MAX_MESSAGE_SIZE`. @default 33554432 */
  readonly maxMessageBytes?: number;
  /** Probe endpoints that have a health check. *Process*, `$DYN_HEALTH_CHECK_ENABLED`. @default false */
  readonly canary?: boolean;
}

const KINDS = ['mem', 'file', 'etcd', 'kubernetes'] as const;

/** What each kind of discovery takes. */
const DISCOVERY = {
  mem: ['kind'],
  file: ['kind', 'dir'],
  etcd: ['kind', 'endpoints', 'leaseTtlSeconds'],
  kubernetes: ['kind', 'mode'],
} as const;

type Check = (path: string, value: unknown) => void;

const string: Check = (path, value) => checkString(path, value);
const oneOf =
  (...choices: string[]): Check =>
  (path, value) =>
    checkOneOf(path, value, choices);
const integer =
  (least: number, most?: number): Check =>
  (path, value) =>
    checkInteger(path, value, least, most);
const boolean: Check = (path, value) => {
  if (typeof value !== 'boolean') throw new TypeError(`${path}: expected a boolean, got ${String(value)}`);
};

/** Every option, how it is checked, and the environment variables that carry it where the crates read it from there. */
const OPTIONS: Record<keyof RuntimeOptions, { check: Check; variables?: readonly string[] }> = {
  discovery: { check: checkDiscovery },
  requestPlane: { check: oneOf('tcp', 'nats') },
  responsePlane: { check: oneOf('tcp', 'quic') },
  eventPlane: { check: oneOf('zmq', 'nats') },
  codec: { check: oneOf('msgpack', 'json'), variables: ['DYN_REQUEST_PLANE_CODEC'] },
  host: { check: string, variables: ['DYN_TCP_RPC_HOST', 'DYN_TCP_RESPONSE_STREAM_HOST', 'DYN_EVENT_PLANE_HOST'] },
  natsServer: { check: string, variables: ['NATS_SERVER'] },
  systemPort: { check: integer(-1, 65535), variables: ['DYN_SYSTEM_PORT'] },
  systemHost: { check: string, variables: ['DYN_SYSTEM_HOST'] },
  workerThreads: { check: integer(1, 4096), variables: ['DYN_RUNTIME_NUM_WORKER_THREADS'] },
  inhibitedSeconds: { check: integer(0), variables: ['DYN_RUNTIME_INHIBITED_DURATION_SECS'] },
  maxMessageBytes: { check: integer(1024), variables: ['DYN_TCP_MAX_MESSAGE_SIZE'] },
  canary: { check: boolean, variables: ['DYN_HEALTH_CHECK_ENABLED'] },
};

function checkDiscovery(path: string, value: unknown): void {
  checkObject(path, value);
  const { kind } = value;
  checkOneOf(`${path}.kind`, kind, KINDS);
  checkObject(path, value, DISCOVERY[kind]);
  if (value['mode'] !== undefined) checkOneOf(`${path}.mode`, value['mode'], ['pod', 'container']);
  if (value['dir'] !== undefined) checkString(`${path}.dir`, value['dir']);
  if (value['leaseTtlSeconds'] !== undefined) checkInteger(`${path}.leaseTtlSeconds`, value['leaseTtlSeconds'], 1);
  const { endpoints } = value;
  if (endpoints === undefined) return;
  if (!Array.isArray(endpoints) || endpoints.length === 0) {
    throw new TypeError(`${path}.endpoints: expected a list of addresses, got ${String(endpoints)}`);
  }
  endpoints.forEach((endpoint, index) => checkString(`${path}.endpoints[${index}]`, endpoint));
}

/** The arguments of `runtimeCreate`. */
export function createArgs(options: RuntimeOptions): Record<string, unknown> {
  const path = 'DistributedRuntime.create options';
  checkOptions(path, options, Object.keys(OPTIONS));
  const args: Record<string, unknown> = {};
  const settings: Record<string, string> = {};
  for (const [name, { check, variables }] of Object.entries(OPTIONS)) {
    const value = options[name as keyof RuntimeOptions];
    if (value === undefined) continue;
    check(`${path}.${name}`, value);
    if (variables === undefined) args[name] = value;
    else for (const variable of variables) settings[variable] = String(value);
  }
  const { discovery } = options;
  if (discovery?.kind === 'kubernetes') {
    args['discovery'] = { kind: 'kubernetes' };
    if (discovery.mode !== undefined) settings['DYN_KUBE_DISCOVERY_MODE'] = discovery.mode;
  }
  return { ...args, settings };
}
