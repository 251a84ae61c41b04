import { NixlError } from '../../errors.js';
import { type ProbeOptions, probe } from './probe.js';
import type { PairAnswer, PairQuestion } from './probe-pair.js';
import type { NixlTransport } from './ucx-report.js';

/** What was found out without a word of UCX's. */
export interface Exclusion {
  readonly transport: NixlTransport;
  readonly evidence: 'by-exclusion' | 'inferred';
  readonly detail: string;
}

/** A transport, and what of UCX_TLS lets a probe agent use it: alone, or with TCP for what it has no messages of its own for. */
type Alone = readonly [transport: NixlTransport, tls: string];

const HOST: readonly Alone[] = [
  ['rdma', 'ib,srd'],
  ['cma', 'cma,tcp'],
];
/** UCX takes it only where the death of a peer need not be noticed. */
const SHARED: readonly Alone[] = [['shared-memory', 'posix,sysv']];
const DEVICE: readonly Alone[] = [
  ['rdma', 'ib,srd,cuda_copy'],
  ['cuda_ipc', 'cuda_ipc,cuda_copy,tcp'],
];

function candidatesFor({ remote, local, params }: PairQuestion): readonly Alone[] {
  if (remote.memory !== 'DRAM' || local !== 'DRAM') return DEVICE;
  return params['ucx_error_handling_mode'] === 'none' ? [...HOST, ...SHARED] : HOST;
}

const cameBySocket = ({ received, moved }: PairAnswer): boolean => received >= moved;
const avoidedSockets = ({ received, moved }: PairAnswer): boolean => received < moved / 2;

/** @internal The environment of a probe agent, so that UCX tells what it chooses. */
export const REPORTING = { UCX_PROTO_INFO: 'y', UCX_LOG_LEVEL: 'warn', UCX_LOG_FILE: 'stdout' };

/**
 * @internal Finds out what carries the bytes where UCX does not tell: `first` is the answer of a probe agent that is set up as
 * this process is. What comes through sockets is TCP. Else each other transport is given to a probe agent of its own, and it
 * is the one with which the bytes come through no socket either. Undefined where none is.
 */
export async function exclude(
  operation: string,
  asked: PairQuestion,
  first: PairAnswer,
  limits: Pick<ProbeOptions, 'timeoutMs' | 'signal'>,
): Promise<Exclusion | undefined> {
  if (cameBySocket(first)) {
    return {
      transport: 'tcp',
      evidence: 'by-exclusion',
      detail: `${first.received} bytes came through TCP sockets while ${first.moved} were moved`,
    };
  }
  const candidates = candidatesFor(asked);
  const able: NixlTransport[] = [];
  for (const [transport, tls] of candidates) {
    try {
      const { answer } = await probe<PairAnswer>(operation, 'probe-pair', asked, { env: { UCX_TLS: tls }, ...limits });
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
      detail: `the bytes come through no socket, and of ${names} only ${transport} carries them so`,
    };
  }
  return { transport, evidence: 'inferred', detail: `of ${names} each of ${able.join(', ')} can carry the bytes` };
}
