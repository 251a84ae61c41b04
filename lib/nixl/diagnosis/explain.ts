import { checkInteger, checkObject, checkOneOf, checkOptions, checkSignal, checkString } from '../../check.js';
import { NixlError } from '../../errors.js';
import { NixlAgent } from '../agent.js';
import { loadNixl, NixlLibrary } from '../library.js';
import type { MemoryDescriptor } from '../memory.js';
import { nixlDoctor } from './doctor.js';
import { type Exclusion, exclude, REPORTING } from './exclusion.js';
import { probe } from './probe.js';
import type { PairAnswer, PairQuestion } from './probe-pair.js';
import { choiceFor, type NixlTransport, parseProtocolReport, transportOf } from './ucx-report.js';

/** What a program may insist on; `any` is content with whatever carries the bytes. */
export type NixlRequirement = 'rdma' | 'cuda_ipc' | 'gds' | 'cma' | 'shared-memory' | 'tcp' | 'any';

const REQUIREMENTS = ['rdma', 'cuda_ipc', 'gds', 'cma', 'shared-memory', 'tcp', 'any'] as const;

/**
 * `reported`: UCX itself named it for this pair. `by-exclusion`: nothing else was allowed, or could do it when a probe agent
 * was given each transport alone. `inferred`: it is likely, from another process or for another reason; a requirement is not
 * met by it.
 */
export type NixlEvidence = 'reported' | 'by-exclusion' | 'inferred';

/** Two ends of a transfer. */
export interface NixlPair {
  /** The peer's metadata, as for `agent.connect`, or an agent of this process. */
  readonly peer: Uint8Array | NixlAgent;
  /** The peer's memory, from `region.descriptor()`. Its bytes are read, never written. */
  readonly remote: MemoryDescriptor;
  /** This side's memory. @default 'DRAM' */
  readonly local?: 'DRAM' | 'VRAM';
  /** Its GPU, for VRAM. @default 0 */
  readonly localDevice?: number;
}

/** What is asked for, and how the question is settled. */
export interface NixlExplainOptions {
  /** Rejects with `nixl.transport` unless there is evidence for this transport. @default 'any' */
  readonly require?: NixlRequirement;
  /** @default `loadNixl()` */
  readonly library?: NixlLibrary;
  /** Parameters of the UCX backend, as the agent's own. */
  readonly params?: Readonly<Record<string, string>>;
  /** The backend that moves files. @default 'POSIX' */
  readonly fileBackend?: string;
  /** Of each probe. @default 30000 */
  readonly timeoutMs?: number;
  /** Ends the probes, and rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** What carries bytes between two memories, and how that is known. */
export interface NixlExplanation {
  readonly transport: NixlTransport;
  readonly evidence: NixlEvidence;
  /** UCX's own words, such as `zero-copy over cma/memory`, or the reason. */
  readonly detail: string;
  /** What a read of up to 16 MiB and one of 4 KiB took; undefined where nothing was moved. */
  readonly measured: { readonly bytesPerSecond: number; readonly latencyUs: number } | undefined;
  /** What the requirement gives up; empty where nothing. */
  readonly lost: string;
}

const KNOWN = ['require', 'library', 'params', 'fileBackend', 'timeoutMs', 'signal'];
const OPERATION = 'nixlExplain';
/** With the start of the process. */
const SPARE_MS = 10_000;

/** What carries only itself when it is all that UCX_TLS allows besides copies within a process. */
const SINGLE =
  /^(?:(?:self|cuda_copy),)*(tcp|cma|sysv|posix|rc|rc_x|rc_v|rc_mlx5|dc|dc_x|ud|cuda_ipc)(?:,(?:self|cuda_copy))*$/;

function onlyAllowed(): Exclusion | undefined {
  const tls = process.env['UCX_TLS'] ?? '';
  const transport = transportOf(`${SINGLE.exec(tls)?.[1] ?? ''}/`);
  return transport === undefined
    ? undefined
    : { transport, evidence: 'by-exclusion', detail: `UCX_TLS=${tls} allows nothing else` };
}

const refused = (message: string, missing: readonly string[] = []): NixlError =>
  new NixlError(
    'Unavailable',
    `${OPERATION}: ${message}${missing.length > 0 ? `. Missing: ${missing.join('; ')}` : ''}`,
    {
      reason: 'nixl.transport',
      operation: OPERATION,
      details: { missing },
    },
  );

/** What this machine lacks for a transport, where that can be told without trying. */
async function missingFor(
  required: NixlRequirement,
  library: NixlLibrary,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  if (required === 'cuda_ipc') return library.cuda.available ? [] : [`device: ${library.cuda.reason}`];
  if (required !== 'rdma' && required !== 'gds') return [];
  const report = await nixlDoctor({ library, ...(signal === undefined ? {} : { signal }) });
  if (required === 'gds') {
    const plugin = report.plugins.find(({ name }) => name === 'GDS');
    if (plugin?.loads === true) return [];
    return [`plugin: ${plugin === undefined ? 'the library has no GDS' : `GDS does not load, ${plugin.reason}`}`];
  }
  const verbs = report.ucx.modules.find(({ name }) => name === 'uct_ib');
  const module =
    verbs?.loaded === true ? [] : [`module: UCX has no uct_ib here${verbs?.reason ? `, ${verbs.reason}` : ''}`];
  return [...report.system.rdma.missing, ...module];
}

function explainFile(backend: string): NixlExplanation {
  const isGds = backend.startsWith('GDS');
  // cuFile copies through host memory where GPUDirect Storage is not there, unless it is told not to.
  const isStrict = process.env['CUFILE_ALLOW_COMPAT_MODE'] === 'false';
  return {
    transport: isGds ? 'gds' : 'posix',
    evidence: isGds && !isStrict ? 'inferred' : 'by-exclusion',
    detail: isGds
      ? `cuFile${isStrict ? '' : ', which may copy through host memory (CUFILE_ALLOW_COMPAT_MODE=false forbids it)'}`
      : 'system calls of POSIX',
    measured: undefined,
    lost: '',
  };
}

async function explainMemory(
  pair: NixlPair,
  options: NixlExplainOptions,
  library: NixlLibrary,
): Promise<NixlExplanation> {
  const { timeoutMs = 30_000, require: required = 'any', signal } = options;
  const isNear = pair.peer instanceof NixlAgent;
  const metadata = pair.peer instanceof NixlAgent ? await pair.peer.metadata() : pair.peer;
  const lost = required === 'shared-memory' ? 'error handling by peer: that a peer has died is not noticed' : '';
  const params = { ...options.params, ...(lost === '' ? {} : { ucx_error_handling_mode: 'none' }) };
  const asked: PairQuestion = {
    path: library.path,
    metadata: Buffer.from(metadata).toString('base64'),
    remote: pair.remote,
    local: pair.local ?? 'DRAM',
    localDevice: pair.localDevice ?? 0,
    params,
    timeoutMs,
  };
  const limits = { timeoutMs: timeoutMs + SPARE_MS, signal };
  const { answer, text } = await probe<PairAnswer>(OPERATION, 'probe-pair', asked, { env: REPORTING, ...limits });
  const measured = { bytesPerSecond: answer.bytesPerSecond, latencyUs: answer.latencyUs };
  const choice = choiceFor(parseProtocolReport(text), 'READ', Math.min(pair.remote.bytes, 16 * 2 ** 20));
  const reported = choice === undefined ? undefined : transportOf(choice.lanes);
  const found =
    choice !== undefined && reported !== undefined
      ? { transport: reported, evidence: 'reported' as const, detail: `${choice.how} over ${choice.lanes}` }
      : (onlyAllowed() ?? (await exclude(OPERATION, asked, answer, limits)));
  if (found === undefined)
    throw refused(
      `nothing tells what carries the bytes${choice === undefined ? '' : `: UCX names ${choice.lanes}, which is not known`}`,
    );
  if (!isNear) return { ...found, measured, lost };
  return {
    ...found,
    evidence: 'inferred',
    detail: `${found.detail}, seen from another process: within one it may differ`,
    measured,
    lost,
  };
}

/** @internal Gives what was found where it meets the requirement, and refuses it with the reason where it does not. */
export function insist(
  required: NixlRequirement,
  found: NixlExplanation,
  missing: readonly string[] = [],
): NixlExplanation {
  if (required === 'any') return found;
  if (found.transport !== required)
    throw refused(`${required} was required, but ${found.transport} carries the bytes (${found.detail})`, missing);
  if (found.evidence === 'inferred')
    throw refused(`${required} was required, and it is likely but not certain (${found.detail})`, missing);
  return found;
}

/**
 * Tells what carries the bytes of a pair of memories, with the evidence for it: the C API itself only says `UCX`. A process
 * of its own, set up as this one is, reads the peer's memory while UCX reports its choices. With `require` it rejects,
 * naming what is missing, where there is no evidence for that transport: nothing else is ever taken instead.
 *
 * @example
 * const { transport, measured } = await nixlExplain({ peer: metadata, remote: descriptor }, { require: 'rdma' });
 */
export async function nixlExplain(pair: NixlPair, options: NixlExplainOptions = {}): Promise<NixlExplanation> {
  checkPair(pair);
  checkOptions(`${OPERATION} options`, options, KNOWN);
  const { require: required = 'any', library = loadNixl(), timeoutMs, fileBackend = 'POSIX' } = options;
  checkOneOf(`${OPERATION} options.require`, required, REQUIREMENTS);
  checkString(`${OPERATION} options.fileBackend`, fileBackend);
  if (timeoutMs !== undefined) checkInteger(`${OPERATION} options.timeoutMs`, timeoutMs, 1, 2 ** 31 - 1 - SPARE_MS);
  if (options.signal !== undefined) checkSignal(`${OPERATION} options.signal`, options.signal);
  if (!(library instanceof NixlLibrary))
    throw new TypeError(`${OPERATION} options.library: expected what loadNixl gave`);
  if (library.kind === 'mock') {
    if (required !== 'any')
      throw refused(`${required} was required, but the library is the mock, which has no transport`);
    return {
      transport: 'mock',
      evidence: 'by-exclusion',
      detail: 'the mock copies bytes',
      measured: undefined,
      lost: '',
    };
  }
  const missing = await missingFor(required, library, options.signal);
  // Memory that may be locked is a limit, not the lack of a way; what cannot be there at all is not tried.
  if (missing.some((reason) => !reason.startsWith('memlock')))
    throw refused(`${required} was required, and this machine cannot have it`, missing);
  const explained =
    pair.remote.memory === 'FILE'
      ? explainFile(fileBackend)
      : await explainMemory(pair, { ...options, require: required }, library);
  return insist(required, explained, missing);
}

function checkPair(pair: NixlPair): void {
  const path = `${OPERATION} pair`;
  checkObject(path, pair, ['peer', 'remote', 'local', 'localDevice']);
  const { peer, remote, local, localDevice } = pair;
  if (!(peer instanceof Uint8Array || peer instanceof NixlAgent))
    throw new TypeError(`${path}.peer: expected a peer's metadata (a Uint8Array) or a NixlAgent`);
  checkObject(`${path}.remote`, remote);
  checkInteger(`${path}.remote.bytes`, remote.bytes, 1);
  if (local !== undefined) checkOneOf(`${path}.local`, local, ['DRAM', 'VRAM']);
  if (localDevice !== undefined) checkInteger(`${path}.localDevice`, localDevice, 0, 1023);
}
