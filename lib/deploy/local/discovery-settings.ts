import { RUNTIME_OPTIONS, type RuntimeOptions } from '../../runtime/config.js';
import { DeployError } from '../deploy-error.js';

/** Where the workers of a graph find one another, and what they talk over. */
export interface DiscoverySettings {
  /** @default $DYN_DISCOVERY_BACKEND, else 'file' */
  readonly discoveryBackend?: 'file' | 'etcd' | 'kubernetes';
  readonly requestPlane?: 'tcp' | 'nats';
  readonly eventPlane?: 'zmq' | 'nats';
  /** The address that workers listen on and advertise. @default loopback with files, unless $DYN_TCP_RPC_HOST is set */
  readonly planeHost?: string | undefined;
}

const LOOPBACK = '127.0.0.1';
const BACKENDS = ['file', 'etcd', 'kubernetes'] as const;

/**
 * The options of the runtimes of a graph. With files, its default, everything stays on this machine: the folder is that
 * of the run unless `$DYN_FILE_KV` names one, and the workers talk over loopback.
 *
 * @throws DeployError `E_DISCOVERY` (64) for `mem`, which other processes cannot see
 */
export function runtimeOptionsOf(
  { discoveryBackend, requestPlane, eventPlane, planeHost }: DiscoverySettings,
  env: Readonly<Record<string, string | undefined>>,
  folder: string,
): RuntimeOptions {
  const kind = discoveryBackend ?? env['DYN_DISCOVERY_BACKEND'] ?? 'file';
  const known = BACKENDS.find((one) => one === kind);
  if (known === undefined)
    throw new DeployError('E_DISCOVERY', `discovery backend '${kind}': expected one of ${BACKENDS.join(', ')}`, {
      exitCode: 64,
    });
  const isLocal = known === 'file' && (env['DYN_TCP_RPC_HOST'] ?? '') === '';
  const host = planeHost ?? (isLocal ? LOOPBACK : undefined);
  const planes = {
    ...(host === undefined ? {} : { host }),
    ...(requestPlane === undefined ? {} : { requestPlane }),
    ...(eventPlane === undefined ? {} : { eventPlane }),
  };
  if (known !== 'file') return { discovery: { kind: known }, ...planes };
  return { discovery: { kind: 'file', dir: env['DYN_FILE_KV'] ?? folder }, ...planes };
}

/** The same for Dynamo's Python components. */
export function discoveryVariables({ discovery, ...options }: RuntimeOptions): Record<string, string> {
  const dir = discovery?.kind === 'file' ? discovery.dir : undefined;
  return {
    ...RUNTIME_OPTIONS.variables(options),
    ...(discovery === undefined ? {} : { DYN_DISCOVERY_BACKEND: discovery.kind }),
    ...(dir === undefined ? {} : { DYN_FILE_KV: dir }),
  };
}
