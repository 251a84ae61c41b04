import type { DashboardOptions } from '../dashboard/dashboard.js';
import { type CommandIo, usageError } from './command.js';
import { findRunning } from './running-graph.js';
import type { WatchedGraphOptions } from './ui.js';

type Watched = Pick<DashboardOptions, 'graph' | 'runtime' | 'namespace' | 'frontends' | 'statusServers'>;

function httpAddress(flag: string, address: string): string {
  if (URL.canParse(address) && /^https?:$/.test(new URL(address).protocol)) return address;
  throw usageError(`${flag}: expected an address such as http://127.0.0.1:8000, got ${address}`);
}

/**
 * The graph that a command was asked to show: one of this machine by its name or the only one, or with flags one that
 * others run.
 *
 * @throws CliError `E_NOT_RUNNING` (69), `E_USAGE` (64)
 */
export function watchedGraph(name: string | undefined, options: WatchedGraphOptions, io: CommandIo): Watched {
  const { namespace, discoveryBackend: kind, frontend = [], statusServer = [] } = options;
  const frontends = frontend.map((one) => httpAddress('--frontend', one));
  const statusServers = statusServer.map((one) => httpAddress('--status-server', one));
  const isForeign = name === undefined && (namespace !== undefined || frontend.length > 0 || kind !== undefined);
  if (!isForeign) return { graph: findRunning(name, io).state.graph, frontends, statusServers };
  const { DYN_FILE_KV: dir = '' } = io.env;
  const file = { kind: 'file' as const, ...(dir === '' ? {} : { dir }) };
  const runtime = { discovery: kind === undefined || kind === 'file' ? file : { kind } };
  return { runtime, frontends, statusServers, ...(namespace === undefined ? {} : { namespace }) };
}
