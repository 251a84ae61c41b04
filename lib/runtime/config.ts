import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

import { checkString, MAX_THREADS, MAX_U32, wrongType } from '../check.js';
import {
  boolean,
  custom,
  defined,
  integer,
  milliseconds,
  type OptionTable,
  oneOf,
  optionTable,
  text,
  variants,
} from '../options.js';
import { checkDiscoveryFolder, defaultDiscoveryFolder } from './discovery-folder.js';
import { certificates, NATS_TLS_OPTIONS, type NatsTls, TRANSPORT_TLS_OPTIONS, type TransportTls } from './tls.js';

/** Where instances are registered and found. */
export type Discovery =
  | { kind: 'mem' }
  /**
   * A folder shared by the processes of one user of one machine. `dir` defaults to `$DYN_FILE_KV`, else to
   * `dynamo_store_kv` in `$XDG_RUNTIME_DIR`, else to `dynamo_store_kv-<uid>` in the temporary folder. Dynamo's Python
   * processes need `$DYN_FILE_KV`, because their default is a folder that all users share.
   */
  | { kind: 'file'; dir?: string }
  /** `endpoints` default to `$ETCD_ENDPOINTS`; the lease to `$ETCD_LEASE_TTL` or 30 s. */
  | { kind: 'etcd'; endpoints?: readonly string[]; leaseTtlSeconds?: number }
  /**
   * The Kubernetes API of the cluster of this process. It needs `$POD_NAME` and `$POD_UID`; `$POD_NAMESPACE` defaults
   * to `default`. `mode` selects whether a pod or each of its containers (`$CONTAINER_NAME`) is a worker; *process*,
   * `$DYN_KUBE_DISCOVERY_MODE`. Fails with `DYN_UNAVAILABLE` outside of a cluster.
   */
  | { kind: 'kubernetes'; mode?: 'pod' | 'container' };

/**
 * Options of a runtime. The default of each is the environment variable named here, else Dynamo's default.
 *
 * The crates read options marked *process* once for the life of the process. A second runtime with another value fails
 * with `DYN_CONFLICT`.
 */
export interface RuntimeOptions {
  /** `$DYN_DISCOVERY_BACKEND`. @default etcd */
  readonly discovery?: Discovery;
  /** `$DYN_REQUEST_PLANE`. @default 'tcp' */
  readonly requestPlane?: 'tcp' | 'nats';
  /** `$DYN_RESPONSE_PLANE`. Callers and workers must use the same. @default 'tcp' */
  readonly responsePlane?: 'tcp' | 'quic';
  /**
   * Who writes and reads responses on TCP: Dynamo's crates, or this package in fewer steps with the same bytes.
   * `native` is for endpoints and clients of this runtime. It becomes `crates` with a line in the log if it lacks
   * something that is needed; see docs/data-plane.md. @default 'native'
   */
  readonly dataPlane?: 'native' | 'crates';
  /** `$DYN_EVENT_PLANE`. @default 'zmq' */
  readonly eventPlane?: 'zmq' | 'nats';
  /** The codec that this process's endpoints advertise. *Process*, `$DYN_REQUEST_PLANE_CODEC`. @default 'msgpack' */
  readonly codec?: 'msgpack' | 'json';
  /**
   * The address for requests, responses and events, served and advertised: an IP address or an interface. The status
   * server and frontends also listen on it, unless they have their own host. *Process*, `$DYN_TCP_RPC_HOST`,
   * `$DYN_TCP_RESPONSE_STREAM_HOST`, `$DYN_EVENT_PLANE_HOST`. @default the first that is not loopback; the event plane,
   * the status server and frontends then listen on all
   */
  readonly host?: string;
  /** Encrypts requests and responses on TCP. *Process*. @default plain TCP */
  readonly tls?: TransportTls;
  /** The NATS server, if a plane uses NATS, such as `nats://127.0.0.1:4222`. *Process*, `$NATS_SERVER`. */
  readonly natsServer?: string;
  /** *Process*. */
  readonly natsTls?: NatsTls;
  /**
   * Port of the status server: 0 for any, -1 for none, at most 32767 (Dynamo's own limit). *Process*,
   * `$DYN_SYSTEM_PORT`. @default -1
   */
  readonly systemPort?: number;
  /** *Process*, `$DYN_SYSTEM_HOST`. @default `host`, else '0.0.0.0' */
  readonly systemHost?: string;
  /** Threads of the native runtime. *Process*, `$DYN_RUNTIME_NUM_WORKER_THREADS`. @default the number of cores */
  readonly workerThreads?: number;
  /**
   * How long clients avoid a failed instance; 0 for not at all. *Process*, `$DYN_RUNTIME_INHIBITED_DURATION_SECS`.
   * @default 5
   */
  readonly inhibitedSeconds?: number;
  /**
   * The maximum size of a message in bytes, at least 64 KiB. The transport uses 16 KiB of it. *Process*,
   * `$DYN_TCP_MAX_MESSAGE_SIZE`. @default 33554432
   */
  readonly maxMessageBytes?: number;
  /**
   * Workers that a starting KV router waits for, 0 for none. *Process*, `$DYN_ROUTER_MIN_INITIAL_WORKERS`. @default 0
   */
  readonly minInitialWorkers?: number;
  /** Probes endpoints that have a health check. *Process*, `$DYN_HEALTH_CHECK_ENABLED`. @default false */
  readonly canary?: boolean;
  /** How long `create` waits for the servers that it needs. @default Dynamo's own 120 s */
  readonly connectTimeoutMs?: number;
}

type DiscoveryOf<Kind extends Discovery['kind']> = Extract<Discovery, { kind: Kind }>;

/** @internal */
export const DISCOVERY_OPTIONS = {
  mem: optionTable<DiscoveryOf<'mem'>>({ kind: oneOf('mem').required() }),
  file: optionTable<DiscoveryOf<'file'>>({
    kind: oneOf('file').required().about('A folder shared by the processes of one machine.'),
    dir: custom<string>('a folder to write to', checkDiscoveryFolder, 'text').env('DYN_FILE_KV').about('The folder.'),
  }),
  etcd: optionTable<DiscoveryOf<'etcd'>>({
    kind: oneOf('etcd').required().about('An etcd cluster.'),
    endpoints: custom<readonly string[]>('a list of addresses', checkAddresses, 'list')
      .env('ETCD_ENDPOINTS')
      .about('The addresses of the servers.'),
    leaseTtlSeconds: integer(1)
      .env('ETCD_LEASE_TTL')
      .about('The time after which an instance without a sign of life is removed.'),
  }),
  kubernetes: optionTable<DiscoveryOf<'kubernetes'>>({
    kind: oneOf('kubernetes').required().about('The Kubernetes API of the cluster of this process.'),
    mode: oneOf('pod', 'container')
      .env('DYN_KUBE_DISCOVERY_MODE')
      .about('Whether a pod or each of its containers is a worker.'),
  }),
};

/** @internal */
export const RUNTIME_OPTIONS: OptionTable<RuntimeOptions> = optionTable<RuntimeOptions>({
  discovery: variants<Discovery>(DISCOVERY_OPTIONS)
    .env('DYN_DISCOVERY_BACKEND')
    .about('Where instances are registered and found.'),
  requestPlane: oneOf('tcp', 'nats').env('DYN_REQUEST_PLANE').about('The transport of requests.'),
  responsePlane: oneOf('tcp', 'quic').env('DYN_RESPONSE_PLANE').about('The transport of responses.'),
  dataPlane: oneOf('native', 'crates').about('Who writes and reads responses on TCP.'),
  eventPlane: oneOf('zmq', 'nats').env('DYN_EVENT_PLANE').about('The transport of events.'),
  codec: oneOf('msgpack', 'json')
    .env('DYN_REQUEST_PLANE_CODEC')
    .about("The codec that this process's endpoints advertise."),
  host: custom<string>('an IP address or an interface', checkHost, 'text')
    .env('DYN_TCP_RPC_HOST', 'DYN_TCP_RESPONSE_STREAM_HOST', 'DYN_EVENT_PLANE_HOST')
    .about('The address for requests, responses and events.'),
  tls: certificates(TRANSPORT_TLS_OPTIONS).about('Encrypts requests and responses on TCP.'),
  natsServer: text.env('NATS_SERVER').about('The NATS server, if a plane uses NATS.'),
  natsTls: certificates(NATS_TLS_OPTIONS).about('Certificates for the connection to NATS.'),
  systemPort: integer(-1, 32767).env('DYN_SYSTEM_PORT').about('The port of the status server; 0 for any, -1 for none.'),
  systemHost: text.env('DYN_SYSTEM_HOST').about('The address of the status server.'),
  workerThreads: integer(1, MAX_THREADS).env('DYN_RUNTIME_NUM_WORKER_THREADS').about('Threads of the native runtime.'),
  inhibitedSeconds: integer(0)
    .env('DYN_RUNTIME_INHIBITED_DURATION_SECS')
    .about('How long clients avoid a failed instance.'),
  maxMessageBytes: integer(64 * 1024, MAX_U32)
    .env('DYN_TCP_MAX_MESSAGE_SIZE')
    .about('The maximum size of a message.'),
  minInitialWorkers: integer(0, MAX_U32)
    .env('DYN_ROUTER_MIN_INITIAL_WORKERS')
    .about('Workers that a starting KV router waits for.'),
  canary: boolean.env('DYN_HEALTH_CHECK_ENABLED').about('Probes endpoints that have a health check.'),
  connectTimeoutMs: milliseconds(1).about('How long the start waits for the servers that it needs.'),
});

/** Dynamo resolves no host names here, and reports an error only when the first endpoint is served. */
function checkHost(path: string, value: unknown): void {
  checkString(path, value);
  const interfaces = networkInterfaces();
  if (isIP(value) === 0 && !(value in interfaces))
    wrongType(path, `an IP address or an interface (${Object.keys(interfaces).join(', ')})`, value);
}

/** The address that an option `host` means. */
function addressOf(host: string | undefined): string | undefined {
  if (host === undefined || isIP(host) !== 0) return host;
  const addresses = networkInterfaces()[host] ?? [];
  return (addresses.find(({ family }) => family === 'IPv4') ?? addresses[0])?.address;
}

/** The address of the status server. */
export function systemHostOf({ systemHost, host }: RuntimeOptions): string {
  return systemHost ?? process.env['DYN_SYSTEM_HOST'] ?? addressOf(host) ?? '0.0.0.0';
}

/** With a checked folder, if discovery uses one. */
function checkedDiscovery(path: string, discovery: Discovery | undefined): Discovery | undefined {
  const kind = discovery?.kind ?? process.env['DYN_DISCOVERY_BACKEND'];
  if (kind !== 'file' || (discovery?.kind === 'file' && discovery.dir !== undefined)) return discovery;
  const { DYN_FILE_KV: set } = process.env;
  const dir = set ?? defaultDiscoveryFolder();
  checkDiscoveryFolder(set === undefined ? `${path}.dir` : '$DYN_FILE_KV', dir);
  return { kind: 'file', dir };
}

function checkAddresses(path: string, value: unknown): void {
  if (!Array.isArray(value) || value.length === 0) wrongType(path, 'a list of addresses', value);
  value.forEach((address, index) => checkString(`${path}[${index}]`, address));
}

/** The servers that a runtime with these options needs, in words. */
export function serversOf({ discovery, requestPlane, eventPlane, natsServer }: RuntimeOptions): string {
  const kind = discovery?.kind ?? process.env['DYN_DISCOVERY_BACKEND'] ?? 'etcd';
  const endpoints =
    (discovery?.kind === 'etcd' ? discovery.endpoints?.join(', ') : undefined) ??
    process.env['ETCD_ENDPOINTS'] ??
    'http://localhost:2379';
  const nats =
    [requestPlane, eventPlane, process.env['DYN_REQUEST_PLANE'], process.env['DYN_EVENT_PLANE']].includes('nats') ||
    natsServer !== undefined ||
    process.env['NATS_SERVER'] !== undefined;
  const servers = [
    ...(kind === 'etcd' ? [`etcd at ${endpoints}`] : []),
    ...(kind === 'kubernetes' ? ['the API server of Kubernetes'] : []),
    ...(nats ? [`NATS at ${natsServer ?? process.env['NATS_SERVER'] ?? 'nats://localhost:4222'}`] : []),
  ];
  const without = kind === 'etcd' ? "; discovery: { kind: 'file', dir } needs no server" : '';
  return `${servers.join(' and ') || 'its discovery'}${without}`;
}

/** The arguments of `runtimeCreate`. `settings` are environment variables that the crates read once. */
export function createArgs(options: RuntimeOptions): { settings: NodeJS.ProcessEnv; [name: string]: unknown } {
  const path = 'DistributedRuntime.create options';
  RUNTIME_OPTIONS.check(path, options);
  const discovery = checkedDiscovery(`${path}.discovery`, options.discovery);
  const { discovery: _, requestPlane, responsePlane, dataPlane, eventPlane, tls, natsTls, ...others } = options;
  const host = addressOf(options.host);
  const settings = {
    ...(host === undefined ? {} : { DYN_SYSTEM_HOST: systemHostOf(options) }),
    ...RUNTIME_OPTIONS.variables(others),
    ...TRANSPORT_TLS_OPTIONS.variables(tls ?? {}),
    ...NATS_TLS_OPTIONS.variables(natsTls ?? {}),
    ...(discovery?.kind === 'kubernetes' ? DISCOVERY_OPTIONS.kubernetes.variables(discovery) : {}),
  };
  const backend = discovery?.kind === 'kubernetes' ? { kind: discovery.kind } : discovery;
  const planes = { requestPlane, responsePlane, dataPlane, eventPlane };
  return { ...defined({ discovery: backend, ...planes, host }), settings };
}
