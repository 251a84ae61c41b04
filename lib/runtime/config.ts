import { accessSync, constants, mkdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

import {
  checkBoolean,
  checkInteger,
  checkObject,
  checkOneOf,
  checkOptions,
  checkString,
  MAX_TIMEOUT_MS,
  MAX_U32,
  wrongType,
} from '../check.js';
import { shown } from '../errors.js';

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

/** Certificates of the TCP transport, as paths of PEM files. A process that serves has a certificate, one that calls an authority. */
export interface TransportTls {
  /** What this process shows to callers. `$DYN_TCP_TLS_CERT_PATH`, and its key `$DYN_TCP_TLS_KEY_PATH`. */
  readonly certPath?: string;
  readonly keyPath?: string;
  /** The authority whose workers this process calls. `$DYN_TCP_TLS_CA_CERT_PATH`. */
  readonly caPath?: string;
  /** What this process shows to workers that ask. `$DYN_TCP_TLS_CLIENT_CERT_PATH`, and its key `$DYN_TCP_TLS_CLIENT_KEY_PATH`. */
  readonly clientCertPath?: string;
  readonly clientKeyPath?: string;
  /** Callers must show a certificate of this authority. `$DYN_TCP_TLS_CLIENT_CA_CERT_PATH`. @default none is asked for */
  readonly clientCaPath?: string;
  /** The name that certificates of workers must have. `$DYN_TCP_TLS_SERVER_NAME`. @default the host of the address */
  readonly serverName?: string;
  /** Takes any certificate: for development. `$DYN_TCP_TLS_INSECURE`. @default false */
  readonly insecure?: boolean;
}

/** Certificates towards a NATS server whose address begins with `tls://`, as paths of PEM files. */
export interface NatsTls {
  /** The authority of the server. `$NATS_TLS_CA_CERT_PATH`. @default the system's */
  readonly caPath?: string;
  /** What this process shows. `$NATS_TLS_CLIENT_CERT_PATH`, and its key `$NATS_TLS_CLIENT_KEY_PATH`. */
  readonly clientCertPath?: string;
  readonly clientKeyPath?: string;
  /** Takes any certificate: for development. `$NATS_TLS_INSECURE`. @default false */
  readonly insecure?: boolean;
}

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
  /** Encrypts requests and responses on TCP. *Process*. @default plain TCP */
  readonly tls?: TransportTls;
  /** NATS, where a plane uses it, such as `nats://127.0.0.1:4222`. *Process*, `$NATS_SERVER`. */
  readonly natsServer?: string;
  /** *Process*. */
  readonly natsTls?: NatsTls;
  /** Port of the status server: 0 for any, -1 for none, at most 32767 (Dynamo's own limit). *Process*, `$DYN_SYSTEM_PORT`. @default -1 */
  readonly systemPort?: number;
  /** *Process*, `$DYN_SYSTEM_HOST`. @default '0.0.0.0' */
  readonly systemHost?: string;
  /** Threads of the native runtime. *Process*, `$DYN_RUNTIME_NUM_WORKER_THREADS`. @default the number of cores */
  readonly workerThreads?: number;
  /** How long a failed instance is passed over, in seconds; 0 for not at all. *Process*, `$DYN_RUNTIME_INHIBITED_DURATION_SECS`. @default 5 */
  readonly inhibitedSeconds?: number;
  /** The largest message in bytes, at least 64 KiB; 16 KiB of it are the transport's. *Process*, `$DYN_TCP_MAX_MESSAGE_SIZE`. @default 33554432 */
  readonly maxMessageBytes?: number;
  /** Workers that a KV router waits for when it starts, 0 for none. *Process*, `$DYN_ROUTER_MIN_INITIAL_WORKERS`. @default 0 */
  readonly minInitialWorkers?: number;
  /** Probe endpoints that have a health check. *Process*, `$DYN_HEALTH_CHECK_ENABLED`. @default false */
  readonly canary?: boolean;
  /** How long `create` waits for the servers that it needs. @default Dynamo's own 120 s */
  readonly connectTimeoutMs?: number;
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
const boolean: Check = (path, value) => checkBoolean(path, value);

/** Every option, how it is checked, and the environment variables that carry it where the crates read it from there. */
const OPTIONS: Record<keyof RuntimeOptions, { check: Check; variables?: readonly string[] }> = {
  discovery: { check: checkDiscovery },
  requestPlane: { check: oneOf('tcp', 'nats') },
  responsePlane: { check: oneOf('tcp', 'quic') },
  eventPlane: { check: oneOf('zmq', 'nats') },
  codec: { check: oneOf('msgpack', 'json'), variables: ['DYN_REQUEST_PLANE_CODEC'] },
  host: { check: checkHost, variables: ['DYN_TCP_RPC_HOST', 'DYN_TCP_RESPONSE_STREAM_HOST', 'DYN_EVENT_PLANE_HOST'] },
  tls: { check: tlsOf(() => TLS), variables: [] },
  natsServer: { check: string, variables: ['NATS_SERVER'] },
  natsTls: { check: tlsOf(() => NATS_TLS), variables: [] },
  systemPort: { check: integer(-1, 32767), variables: ['DYN_SYSTEM_PORT'] },
  systemHost: { check: string, variables: ['DYN_SYSTEM_HOST'] },
  workerThreads: { check: integer(1, 4096), variables: ['DYN_RUNTIME_NUM_WORKER_THREADS'] },
  inhibitedSeconds: { check: integer(0), variables: ['DYN_RUNTIME_INHIBITED_DURATION_SECS'] },
  maxMessageBytes: { check: integer(64 * 1024, MAX_U32), variables: ['DYN_TCP_MAX_MESSAGE_SIZE'] },
  minInitialWorkers: { check: integer(0, MAX_U32), variables: ['DYN_ROUTER_MIN_INITIAL_WORKERS'] },
  canary: { check: boolean, variables: ['DYN_HEALTH_CHECK_ENABLED'] },
  connectTimeoutMs: { check: integer(1, MAX_TIMEOUT_MS), variables: [] },
};

/** Dynamo resolves no names here, and says so only when the first endpoint is served. */
function checkHost(path: string, value: unknown): void {
  checkString(path, value);
  const interfaces = networkInterfaces();
  if (isIP(value) === 0 && !(value in interfaces))
    wrongType(path, `an IP address or an interface (${Object.keys(interfaces).join(', ')})`, value);
}

/** A folder that cannot be written to would show only when the first endpoint is served, without a reason. */
function checkFolder(path: string, value: unknown): void {
  checkString(path, value);
  try {
    mkdirSync(value, { recursive: true });
    accessSync(value, constants.W_OK);
  } catch (cause) {
    throw new TypeError(`${path}: expected a folder to write to, got ${shown(value)} (${(cause as Error).message})`, {
      cause,
    });
  }
}

/** The servers that a runtime of these options needs, in words. */
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

function checkDiscovery(path: string, value: unknown): void {
  checkObject(path, value);
  const { kind } = value;
  checkOneOf(`${path}.kind`, kind, KINDS);
  checkObject(path, value, DISCOVERY[kind]);
  if (value['mode'] !== undefined) checkOneOf(`${path}.mode`, value['mode'], ['pod', 'container']);
  if (value['dir'] !== undefined) checkFolder(`${path}.dir`, value['dir']);
  if (value['leaseTtlSeconds'] !== undefined) checkInteger(`${path}.leaseTtlSeconds`, value['leaseTtlSeconds'], 1);
  const { endpoints } = value;
  if (endpoints === undefined) return;
  if (!Array.isArray(endpoints) || endpoints.length === 0) {
    wrongType(`${path}.endpoints`, 'a list of addresses', endpoints);
  }
  endpoints.forEach((endpoint, index) => checkString(`${path}.endpoints[${index}]`, endpoint));
}

const TLS: Record<keyof TransportTls, string> = {
  certPath: 'DYN_TCP_TLS_CERT_PATH',
  keyPath: 'DYN_TCP_TLS_KEY_PATH',
  caPath: 'DYN_TCP_TLS_CA_CERT_PATH',
  clientCertPath: 'DYN_TCP_TLS_CLIENT_CERT_PATH',
  clientKeyPath: 'DYN_TCP_TLS_CLIENT_KEY_PATH',
  clientCaPath: 'DYN_TCP_TLS_CLIENT_CA_CERT_PATH',
  serverName: 'DYN_TCP_TLS_SERVER_NAME',
  insecure: 'DYN_TCP_TLS_INSECURE',
};

const NATS_TLS: Record<keyof NatsTls, string> = {
  caPath: 'NATS_TLS_CA_CERT_PATH',
  clientCertPath: 'NATS_TLS_CLIENT_CERT_PATH',
  clientKeyPath: 'NATS_TLS_CLIENT_KEY_PATH',
  insecure: 'NATS_TLS_INSECURE',
};

/** Certificates without a key are no use. */
const PAIRS = [
  ['certPath', 'keyPath'],
  ['clientCertPath', 'clientKeyPath'],
] as const;

function tlsOf(known: () => Record<string, string>): Check {
  return (path, tls) => {
    checkObject(path, tls, Object.keys(known()));
    for (const [name, value] of Object.entries(tls)) {
      const check = name === 'insecure' ? boolean : string;
      if (value !== undefined) check(`${path}.${name}`, value);
    }
    for (const [one, other] of PAIRS) {
      if ((tls[one] === undefined) !== (tls[other] === undefined))
        throw new TypeError(`${path}: expected ${one} and ${other} together, got one of them`);
    }
  };
}

function* tlsSettings(variables: Record<string, string>, tls: object = {}): Generator<[string, string]> {
  for (const [name, value] of Object.entries(tls))
    if (value !== undefined) yield [variables[name] as string, String(value)];
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
  const { discovery, tls, natsTls } = options;
  Object.assign(settings, Object.fromEntries([...tlsSettings(TLS, tls), ...tlsSettings(NATS_TLS, natsTls)]));
  if (discovery?.kind === 'kubernetes') {
    args['discovery'] = { kind: 'kubernetes' };
    if (discovery.mode !== undefined) settings['DYN_KUBE_DISCOVERY_MODE'] = discovery.mode;
  }
  return { ...args, settings };
}
