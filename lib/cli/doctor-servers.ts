import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { checkDiscoveryFolder, defaultDiscoveryFolder } from '../runtime/discovery-folder.js';
import { type CheckContext, type DoctorCheck, unreachable } from './doctor-check.js';

/** The folder of file discovery. */
export function checkFolder({ env }: CheckContext): DoctorCheck {
  const folder = env['DYN_FILE_KV'] || defaultDiscoveryFolder();
  try {
    checkDiscoveryFolder('folder', folder);
    return { name: 'file discovery', status: 'ok', found: folder };
  } catch (error) {
    return {
      name: 'file discovery',
      status: 'warning',
      found: (error as Error).message,
      fix: 'set $DYN_FILE_KV to a folder that only you can write to',
    };
  }
}

interface Server {
  readonly name: string;
  readonly port: number;
  /** The address if no variable states one. */
  readonly address: string;
  readonly variable: string;
  readonly use: string;
}

const ETCD: Server = {
  name: 'etcd',
  port: 2379,
  address: 'http://localhost:2379',
  variable: 'ETCD_ENDPOINTS',
  use: 'discovery of kind etcd needs it; file discovery does not',
};

const NATS: Server = {
  name: 'NATS',
  port: 4222,
  address: 'nats://localhost:4222',
  variable: 'NATS_SERVER',
  use: 'the planes of kind nats need it; tcp and zmq do not',
};

/** A server that is not reached is a fault only if a variable says that it is used. */
async function checkServer(server: Server, isUsed: boolean, { env, timeoutMs }: CheckContext): Promise<DoctorCheck> {
  const { name, port, variable, use } = server;
  const given = env[variable] || undefined;
  const addresses = (given ?? server.address).split(',').map((one) => one.trim());
  const reasons = await Promise.all(
    addresses.map(async (address) => {
      const url = urlOf(address);
      if (url === undefined || url.hostname === '') return `${address}: it is no address`;
      const reason = await unreachable(url.hostname.replace(/[[\]]/g, ''), Number(url.port || port), timeoutMs);
      return reason === undefined ? undefined : `${address}: ${reason}`;
    }),
  );
  const failed = reasons.filter((reason) => reason !== undefined);
  if (failed.length === 0) return { name, status: 'ok', found: `${addresses.join(', ')} answers` };
  const status = isUsed || given !== undefined ? 'warning' : 'absent';
  return { name, status, found: failed.join('; '), fix: `${use}; $${variable} sets its address` };
}

function urlOf(address: string): URL | undefined {
  try {
    return new URL(address.includes('://') ? address : `tcp://${address}`);
  } catch {
    return undefined;
  }
}

export const checkEtcd = (context: CheckContext): Promise<DoctorCheck> =>
  checkServer(ETCD, context.env['DYN_DISCOVERY_BACKEND'] === 'etcd', context);

export const checkNats = (context: CheckContext): Promise<DoctorCheck> =>
  checkServer(NATS, [context.env['DYN_REQUEST_PLANE'], context.env['DYN_EVENT_PLANE']].includes('nats'), context);

interface KubeConfig {
  readonly 'current-context'?: string;
  readonly contexts?: readonly { readonly name: string; readonly context?: { readonly cluster?: string } }[];
  readonly clusters?: readonly { readonly name: string; readonly cluster?: { readonly server?: string } }[];
}

/** The API server: of the cluster of this process, else of the current context of kubectl. */
export async function checkKubernetes({ env, timeoutMs }: CheckContext): Promise<DoctorCheck> {
  const name = 'Kubernetes';
  const isUsed = env['DYN_DISCOVERY_BACKEND'] === 'kubernetes';
  const fix = 'dynamo deploy needs a cluster: set $KUBECONFIG, or run kubectl config use-context';
  const fault = (found: string): DoctorCheck => ({ name, status: isUsed ? 'warning' : 'absent', found, fix });
  const host = env['KUBERNETES_SERVICE_HOST'];
  const file = env['KUBECONFIG']?.split(':')[0] || join(env['HOME'] ?? homedir(), '.kube/config');
  let server: string | undefined;
  if (host) server = `https://${host.includes(':') ? `[${host}]` : host}:${env['KUBERNETES_SERVICE_PORT'] ?? 443}`;
  else if (existsSync(file)) {
    try {
      server = serverOf(parse(readFileSync(file, 'utf8')) as KubeConfig);
    } catch (error) {
      return fault(`${file} cannot be read: ${(error as Error).message.split('\n')[0]}`);
    }
  } else return fault(`no cluster: this is no pod, and there is no ${file}`);
  const url = server === undefined ? undefined : urlOf(server);
  if (url === undefined) return fault(`${file} names no server of its current context`);
  const port = Number(url.port || (url.protocol === 'http:' ? 80 : 443));
  const reason = await unreachable(url.hostname.replace(/[[\]]/g, ''), port, timeoutMs);
  if (reason !== undefined) return fault(`${server}: ${reason}`);
  return { name, status: 'ok', found: `${server} answers` };
}

function serverOf(config: KubeConfig | null): string | undefined {
  const context = config?.contexts?.find(({ name }) => name === config['current-context'])?.context;
  return config?.clusters?.find(({ name }) => name === context?.cluster)?.cluster?.server;
}
