import { NixlError } from '../../errors.js';
import { type ProbeOptions, probe } from './probe.js';
import type { PairAnswer, PairQuestion } from './probe-pair.js';
import type { NixlTransport } from './ucx-report.js';

/** A transport that was found without a report of UCX. */
export interface Exclusion {
  readonly transport: NixlTransport;
  readonly evidence: 'by-exclusion' | 'inferred';
  readonly detail: string;
}

/** A transport, and the UCX_TLS that allows it. Some transports need TCP beside them for control messages. */
type Alone = readonly [transport: NixlTransport, tls: string];

const HOST: readonly Alone[] = [
  ['rdma', 'ib,srd'],
  ['cma', 'cma,tcp'],
];
/** UCX uses shared memory only if it does not need to detect the death of a peer. */
const SHARED: readonly Alone[] = [['shared-memory', 'posix,sysv']];
const DEVICE: readonly Alone[] = [
  ['rdma', 'ib,srd,cuda_copy'],
  ['cuda-ipc', 'cuda_ipc,cuda_copy,tcp'],
];

function candidatesFor({ remote, local, params }: PairQuestion): readonly Alone[] {
  if (remote.memory !== 'DRAM' || local !== 'DRAM') return DEVICE;
  return params['ucx_error_handling_mode'] === 'none' ? [...HOST, ...SHARED] : HOST;
}

const cameBySocket = ({ received, moved }: PairAnswer): boolean => received >= moved;
const avoidedSockets = ({ received, moved }: PairAnswer): boolean => received < moved / 2;

/** @internal The environment of a probe agent that makes UCX report its choices. */
export const REPORTING = { UCX_PROTO_INFO: 'y', UCX_LOG_LEVEL: 'warn', UCX_LOG_FILE: 'stdout' };

/**
 * @internal Finds the transport if UCX does not report it. `first` is the answer of a probe agent with the settings of
 * this process. If its bytes came through sockets, the transport is TCP. Otherwise one probe agent runs for each other
 * transport, and only those whose bytes avoid sockets remain. Undefined if none remains.
 */
export async function exclude(
  operation: string,
  pair: PairQuestion,
  first: PairAnswer,
  limits: Pick<ProbeOptions, 'timeoutMs' | 'signal'>,
): Promise<Exclusion | undefined> {
  if (cameBySocket(first)) {
    return {
      transport: 'tcp',
      evidence: 'by-exclusion',
      detail: `${first.received} bytes arrived through TCP sockets while ${first.moved} were moved`,
    };
  }
  const candidates = candidatesFor(pair);
  const able: NixlTransport[] = [];
  for (const [transport, tls] of candidates) {
    try {
      const { answer } = await probe<PairAnswer>(operation, 'probe-pair', pair, { env: { UCX_TLS: tls }, ...limits });
      if (avoidedSockets(answer)) able.push(transport);
    } catch (error) {
      if (!(error instanceof NixlError) || error.reason !== 'nixl.probe') throw error;
    }
  }
  const [transport] = able;
  if (transport === undefined) return undefined;
  const names = candidates.map(([name]) => name).join(', ');
  if (able.length === 1 && avoidedSockets(first)) {
    return {
      transport,
      evidence: 'by-exclusion',
      detail: `the bytes arrive through no socket, and of ${names} only ${transport} carries them that way`,
    };
  }
  return { transport, evidence: 'inferred', detail: `of ${names} each of ${able.join(', ')} can carry the bytes` };
}
