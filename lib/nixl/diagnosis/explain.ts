import { checkInteger, checkObject, MAX_TIMEOUT_MS, wrongType } from '../../check.js';
import { NixlError } from '../../errors.js';
import {
  custom,
  integer,
  milliseconds,
  type OptionTable,
  oneOf,
  optionTable,
  signal,
  stringMap,
  text,
} from '../../options.js';
import { NixlAgent } from '../agent.js';
import { libraryOption, loadNixl, type NixlLibrary } from '../library.js';
import type { MemoryDescriptor } from '../memory.js';
import { nixlDoctor } from './doctor.js';
import { type Exclusion, exclude, REPORTING } from './exclusion.js';
import { probe } from './probe.js';
import type { PairAnswer, PairQuestion } from './probe-pair.js';
import { choiceFor, type NixlTransport, parseProtocolReport, transportOf } from './ucx-report.js';

/** A transport that a program requires. `any` accepts every transport. */
export type NixlRequirement = 'rdma' | 'cuda-ipc' | 'gds' | 'cma' | 'shared-memory' | 'tcp' | 'any';

/**
 * How the transport is known. `reported`: UCX reported it for this pair. `by-exclusion`: no other transport is allowed,
 * or none of the others works alone. `inferred`: indirect evidence, for example from another process. It never
 * satisfies `require`.
 */
export type NixlEvidence = 'reported' | 'by-exclusion' | 'inferred';

/** The two ends of a transfer. */
export interface NixlPair {
  /** The peer's metadata, as in `agent.connect`, or an agent of this process. */
  readonly peer: Uint8Array | NixlAgent;
  /** The peer's memory, from `region.descriptor()`. Its bytes are read, never written. */
  readonly remote: MemoryDescriptor;
  /** The kind of memory on this side. @default 'DRAM' */
  readonly local?: 'DRAM' | 'VRAM';
  /** The ordinal of the GPU on this side, for VRAM. @default 0 */
  readonly localDevice?: number;
}

const PAIR: OptionTable<NixlPair> = optionTable<NixlPair>({
  peer: custom<NixlPair['peer']>('metadata of a peer (a Uint8Array) or a NixlAgent', (path, peer) => {
    if (!(peer instanceof Uint8Array || peer instanceof NixlAgent))
      wrongType(path, 'metadata of a peer (a Uint8Array) or a NixlAgent', peer);
  })
    .about("The peer's metadata, or an agent of this process.")
    .required(),
  remote: custom<MemoryDescriptor>('a memory descriptor', (path, remote) => {
    checkObject(path, remote);
    checkInteger(`${path}.bytes`, remote['bytes'], 1);
  })
    .about("The peer's memory.")
    .required(),
  local: oneOf('DRAM', 'VRAM').about('The kind of memory on this side.'),
  localDevice: integer(0, 1023).about('The ordinal of the GPU on this side.'),
});

/** What is required, and how the transport is found. */
export interface NixlExplainOptions {
  /** Rejects with `nixl.transport` unless there is evidence of this transport. @default 'any' */
  readonly require?: NixlRequirement;
  /** @default `loadNixl()` */
  readonly library?: NixlLibrary;
  /** The parameters of the agent's UCX backend. */
  readonly params?: Readonly<Record<string, string>>;
  /** The backend that moves files. @default 'POSIX' */
  readonly fileBackend?: string;
  /** The limit of each probe, in milliseconds. @default 30000 */
  readonly timeoutMs?: number;
  /** Ends the probes, and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** The transport between two memories, and how it is known. */
export interface NixlExplanation {
  readonly transport: NixlTransport;
  readonly evidence: NixlEvidence;
  /** What UCX reported, such as `zero-copy over cma/memory`, or the reason. */
  readonly detail: string;
  /** The measured speed of reads of up to 16 MiB, and the latency of reads of 4 KiB. Undefined if nothing was moved. */
  readonly measured: { readonly bytesPerSecond: number; readonly latencyUs: number } | undefined;
  /** What the requirement disables. Empty if nothing. */
  readonly lost: string;
}

const OPERATION = 'nixlExplain';
/** The time that the process of a probe may need to start. */
const START_MS = 10_000;

const EXPLAIN_OPTIONS: OptionTable<NixlExplainOptions> = optionTable<NixlExplainOptions>({
  require: oneOf('rdma', 'cuda-ipc', 'gds', 'cma', 'shared-memory', 'tcp', 'any').about('The required transport.'),
  library: libraryOption,
  params: stringMap.about("The parameters of the agent's UCX backend."),
  fileBackend: text.about('The backend that moves files.'),
  timeoutMs: milliseconds(1, MAX_TIMEOUT_MS - START_MS).about('The limit of each probe.'),
  signal: signal.about('Ends the probes.'),
});

/** Values of UCX_TLS that allow one transport only, besides copies within a process. */
const SINGLE =
  /^(?:(?:self|cuda_copy),)*(tcp|cma|sysv|posix|rc|rc_x|rc_v|rc_mlx5|dc|dc_x|ud|cuda_ipc)(?:,(?:self|cuda_copy))*$/;

function onlyAllowed(): Exclusion | undefined {
  const tls = process.env['UCX_TLS'] ?? '';
  const transport = transportOf(`${SINGLE.exec(tls)?.[1] ?? ''}/`);
  return transport === undefined
    ? undefined
    : { transport, evidence: 'by-exclusion', detail: `UCX_TLS=${tls} allows no other transport` };
}

const requirementError = (message: string, missing: readonly string[] = []): NixlError =>
  new NixlError(
    'Unavailable',
    `${OPERATION}: ${message}${missing.length > 0 ? `. Missing: ${missing.join('; ')}` : ''}`,
    {
      reason: 'nixl.transport',
      operation: OPERATION,
      details: { missing },
    },
  );

/** What this machine lacks for a transport, as far as that is known without a probe. */
async function missingFor(
  required: NixlRequirement,
  library: NixlLibrary,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  if (required === 'cuda-ipc') return library.cuda.available ? [] : [`device: ${library.cuda.reason}`];
  if (required !== 'rdma' && required !== 'gds') return [];
  const report = await nixlDoctor({ library, ...(signal === undefined ? {} : { signal }) });
  if (required === 'gds') {
    const plugin = report.plugins.find(({ name }) => name === 'GDS');
    if (plugin?.loads === true) return [];
    return [
      `plugin: ${plugin === undefined ? 'the library has no GDS plugin' : `GDS does not load: ${plugin.reason}`}`,
    ];
  }
  const verbs = report.ucx.modules.find(({ name }) => name === 'uct_ib');
  const module =
    verbs?.loaded === true ? [] : [`module: UCX has not loaded uct_ib${verbs?.reason ? `: ${verbs.reason}` : ''}`];
  return [...report.system.rdma.missing, ...module];
}

function explainFile(backend: string): NixlExplanation {
  const isGds = backend.startsWith('GDS');
  // Without GPUDirect Storage, cuFile copies through host memory unless that is forbidden.
  const isStrict = process.env['CUFILE_ALLOW_COMPAT_MODE'] === 'false';
  return {
    transport: isGds ? 'gds' : 'posix',
    evidence: isGds && !isStrict ? 'inferred' : 'by-exclusion',
    detail: isGds
      ? `cuFile${isStrict ? '' : ', which may copy through host memory (CUFILE_ALLOW_COMPAT_MODE=false forbids it)'}`
      : 'POSIX system calls',
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
  const lost = required === 'shared-memory' ? 'error handling by peer: the death of a peer is not detected' : '';
  const params = { ...options.params, ...(lost === '' ? {} : { ucx_error_handling_mode: 'none' }) };
  const question: PairQuestion = {
    path: library.path,
    metadata: Buffer.from(metadata).toString('base64'),
    remote: pair.remote,
    local: pair.local ?? 'DRAM',
    localDevice: pair.localDevice ?? 0,
    params,
    timeoutMs,
  };
  const limits = { timeoutMs: timeoutMs + START_MS, signal };
  const { answer, text } = await probe<PairAnswer>(OPERATION, 'probe-pair', question, { env: REPORTING, ...limits });
  const measured = { bytesPerSecond: answer.bytesPerSecond, latencyUs: answer.latencyUs };
  const choice = choiceFor(parseProtocolReport(text), 'READ', Math.min(pair.remote.bytes, 16 * 2 ** 20));
  const reported = choice === undefined ? undefined : transportOf(choice.lanes);
  const found =
    choice !== undefined && reported !== undefined
      ? { transport: reported, evidence: 'reported' as const, detail: `${choice.how} over ${choice.lanes}` }
      : (onlyAllowed() ?? (await exclude(OPERATION, question, answer, limits)));
  if (found === undefined)
    throw requirementError(
      `the transport cannot be found${choice === undefined ? '' : `: UCX reports ${choice.lanes}, which is not known`}`,
    );
  if (!isNear) return { ...found, measured, lost };
  return {
    ...found,
    evidence: 'inferred',
    detail: `${found.detail}, measured from another process: within this process it may differ`,
    measured,
    lost,
  };
}

/** @internal Returns what was found if it satisfies the requirement. @throws NixlError if it does not */
export function assertRequirement(
  required: NixlRequirement,
  found: NixlExplanation,
  missing: readonly string[] = [],
): NixlExplanation {
  if (required === 'any') return found;
  if (found.transport !== required)
    throw requirementError(
      `${required} was required, but ${found.transport} carries the bytes (${found.detail})`,
      missing,
    );
  if (found.evidence === 'inferred')
    throw requirementError(`${required} was required, and it is likely but not certain (${found.detail})`, missing);
  return found;
}

/**
 * Finds the transport between two memories, with the evidence for it. NIXL's C API only reports `UCX`. A separate
 * process with the same settings reads the peer's memory while UCX reports its choices.
 *
 * With `require` it rejects unless there is evidence of that transport, and names what is missing. It never accepts
 * another transport instead.
 *
 * @example
 * const { transport, measured } = await nixlExplain({ peer: metadata, remote: descriptor }, { require: 'rdma' });
 */
export async function nixlExplain(pair: NixlPair, options: NixlExplainOptions = {}): Promise<NixlExplanation> {
  PAIR.check(`${OPERATION} pair`, pair);
  EXPLAIN_OPTIONS.check(`${OPERATION} options`, options);
  const { require: required = 'any', library = loadNixl(), fileBackend = 'POSIX' } = options;
  if (library.kind === 'mock') {
    if (required !== 'any')
      throw requirementError(`${required} was required, but the library is the mock, which has no transport`);
    return {
      transport: 'mock',
      evidence: 'by-exclusion',
      detail: 'the mock copies bytes',
      measured: undefined,
      lost: '',
    };
  }
  const missing = await missingFor(required, library, options.signal);
  // Locked memory is only a limit. Without the other parts the transport cannot work, so it is not tried.
  if (missing.some((reason) => !reason.startsWith('memlock')))
    throw requirementError(`${required} was required, and this machine lacks what it needs`, missing);
  const explained =
    pair.remote.memory === 'FILE'
      ? explainFile(fileBackend)
      : await explainMemory(pair, { ...options, require: required }, library);
  return assertRequirement(required, explained, missing);
}
