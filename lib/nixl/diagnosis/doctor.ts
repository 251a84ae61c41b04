import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { native } from '../../addon/invoke.js';
import { checkOptions, checkSignal } from '../../check.js';
import { NixlAgent } from '../agent.js';
import {
  loadNixl,
  type NixlCuda,
  type NixlLibrary,
  NixlLoadError,
  type NixlLoadOptions,
  type NixlTried,
} from '../library.js';
import { versionOf } from '../version.js';
import { probe } from './probe.js';
import type { FilesAnswer, FilesQuestion } from './probe-files.js';
import { copiesOfUcx, mappedFiles, readSystem, type SystemReport } from './system.js';

/** Whether a plugin loads. */
export interface NixlPluginReport {
  readonly name: string;
  readonly loads: boolean;
  /** Why it does not load, such as a library that is missing; empty where it does. */
  readonly reason: string;
}

/** The UCX that NIXL's backend uses. */
export interface UcxReport {
  /** The folder of UCX's libraries; undefined while none is loaded. */
  readonly folder: string | undefined;
  /** Its transports that are files of their own: whether each is loaded here, and why it cannot be. */
  readonly modules: readonly { readonly name: string; readonly loaded: boolean; readonly reason: string }[];
  /** The files of UCX's libraries where the process has more than one copy, which corrupt each other. */
  readonly copies: readonly string[];
}

/** Something that is wrong or missing, and the way to mend it. */
export interface NixlProblem {
  readonly what: string;
  readonly fix: string;
}

/** What there is of NIXL on this machine. Source: the library itself, the dynamic linker, /proc and /sys. */
export interface NixlReport {
  /** Whether the real library and its UCX backend load. */
  readonly ok: boolean;
  readonly kind: 'real' | 'mock' | 'none';
  /** The file; empty without the real library. */
  readonly path: string;
  /** Of the wheel or the installation; undefined where neither tells. */
  readonly version: string | undefined;
  /** Where the library was looked for in vain. */
  readonly tried: readonly NixlTried[];
  /** Each feature of the C API with the symbols that this version lacks. */
  readonly features: Readonly<Record<string, readonly string[]>>;
  readonly plugins: readonly NixlPluginReport[];
  readonly ucx: UcxReport;
  readonly cuda: NixlCuda | undefined;
  readonly system: SystemReport;
  /** Whether another process of this user may read the memory of this one, which CMA needs. */
  readonly processVm: { readonly allowed: boolean; readonly reason: string };
  /** What to mend, most important first. */
  readonly problems: readonly NixlProblem[];
}

const PROBE_MS = 60_000;
/** Memory that another process tries to read. */
const readable = new ArrayBuffer(8);

const list = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);

const pluginFolder = (library: string): string => process.env['NIXL_PLUGIN_DIR'] ?? join(dirname(library), 'plugins');

const moduleName = (file: string): string =>
  basename(file)
    .replace(/\.so.*$/, '')
    .replace(/^lib/, '');

/** UCX's folder and the files of its modules, from what the process has loaded. */
function ucxFiles(mapped: readonly string[]): { folder: string | undefined; modules: string[] } {
  const core = mapped.find((file) => /\/libucs(-[0-9a-f]+)?\.so/.test(file));
  if (core === undefined) return { folder: undefined, modules: [] };
  const folder = dirname(core);
  const modules = process.env['UCX_MODULE_DIR'] ?? join(folder, 'ucx');
  const files = list(modules).filter(
    (name) => /^lib(uct|ucm|ucx_perftest)_.*\.so(\.\d+)*$/.test(name) && !name.includes('perftest'),
  );
  return { folder, modules: files.map((name) => join(modules, name)) };
}

function problemsOf(
  report: Omit<NixlReport, 'problems' | 'ok'>,
  ucxLoads: boolean,
  refusal: string | undefined,
  crash: string,
): NixlProblem[] {
  const problems: NixlProblem[] = [];
  const { kind, tried, plugins, ucx, system, processVm } = report;
  if (kind === 'none')
    problems.push({
      what: `libnixl_capi.so was not found: ${tried.length} places were tried`,
      fix: 'python3 -m venv .peers && .peers/bin/pip install --no-deps nixl-cu12==1.5.1',
    });
  if (refusal !== undefined) {
    const tls = process.env['UCX_TLS'];
    problems.push({
      what: `UCX refuses to begin: ${refusal}`,
      fix:
        tls === undefined
          ? 'UCX_LOG_LEVEL=info tells why'
          : `UCX_TLS=${tls} may allow too little: add tcp, or give the backend ucx_error_handling_mode=none`,
    });
  } else if (kind === 'real' && !ucxLoads) {
    const reason = plugins.find(({ name }) => name === 'UCX')?.reason ?? 'it has no such plugin';
    problems.push({
      what: `the UCX plugin does not load: ${reason}`,
      fix: 'install the whole wheel, or point NIXL_PLUGIN_DIR to the plugins of this library',
    });
  }
  if (ucx.copies.length > 0) {
    problems.push({
      what: `the process has more than one copy of UCX: ${ucx.copies.join(', ')}`,
      fix: 'load the other library that brings UCX (such as MPI) with the same UCX, or in another process',
    });
  }
  if (crash !== '') {
    problems.push({
      what: `a process that only loads the files of plugins and of UCX ends: ${crash}`,
      fix: 'look for libraries that are preloaded or of another version',
    });
  } else if (!processVm.allowed) {
    problems.push({
      what: `processes may not read each other's memory (${processVm.reason}): on this machine bytes go over TCP`,
      fix: 'run containers with --cap-add=SYS_PTRACE, or set kernel.yama.ptrace_scope=0',
    });
  }
  if (system.rdma.devices.length > 0) {
    for (const what of system.rdma.missing)
      problems.push({ what: `RDMA: ${what}`, fix: 'see the reason; until then other transports are used' });
  }
  return problems;
}

/** What the doctor looks at. */
export interface NixlDoctorOptions {
  /** @default what `load` finds */
  readonly library?: NixlLibrary;
  readonly load?: NixlLoadOptions;
  /** Ends it, and rejects with its reason. */
  readonly signal?: AbortSignal;
}

/**
 * Looks at everything that NIXL needs: the library and its version, plugins and UCX modules with the reason of each that does
 * not load, GPUs, RDMA devices, locked memory, what the container forbids, and copies of UCX that are in each other's way.
 * Loads the library into this process, unless it is told that of `library`; starts one short-lived process. A machine
 * without NIXL is a report, not an error.
 *
 * @example
 * const report = await nixlDoctor();
 * console.log(formatNixlReport(report));
 */
export async function nixlDoctor(options: NixlDoctorOptions = {}): Promise<NixlReport> {
  checkOptions('nixlDoctor options', options, ['library', 'load', 'signal']);
  const { signal } = options;
  if (signal !== undefined) checkSignal('nixlDoctor options.signal', signal);
  let library = options.library;
  let tried: readonly NixlTried[] = [];
  try {
    library ??= loadNixl({ mode: 'real', ...options.load });
  } catch (error) {
    if (!(error instanceof NixlLoadError)) throw error;
    tried = error.tried;
  }
  const { found, refusal } = library === undefined ? { found: [], refusal: undefined } : await pluginsOf(library);
  const mapped = library?.kind === 'real' ? mappedFiles() : [];
  const ucx = ucxFiles(mapped);
  const lame = found
    .filter(({ loads }) => !loads)
    .map(({ name }) => join(pluginFolder(library?.path ?? ''), `libplugin_${name}.so`));
  const idle = ucx.modules.filter((file) => !mapped.includes(file));
  const files = [...(library?.kind === 'real' ? lame : []), ...idle];
  const asked: FilesQuestion = { files, address: native.nixlBufferAddress(readable) };
  // What it loads may end it, as a second copy of UCX does: that is a finding, too.
  const { answer, crash } = await probe<FilesAnswer>('nixlDoctor', 'probe-files', asked, {
    timeoutMs: PROBE_MS,
    signal,
  }).then(
    (output) => ({ answer: output.answer, crash: '' }),
    (error: Error) => (
      signal?.throwIfAborted(), { answer: { reasons: [], memory: 'not known' }, crash: error.message }
    ),
  );
  const reasonOf = (file: string): string => answer.reasons[files.indexOf(file)] ?? 'not known';

  const plugins = found.map(({ name, loads }) => {
    const own = reasonOf(lame.find((file) => file.endsWith(`/libplugin_${name}.so`)) ?? '');
    return { name, loads, reason: loads ? '' : own || 'the library refuses it' };
  });
  const system = readSystem();
  const report = {
    kind: library?.kind ?? ('none' as const),
    path: library?.path ?? '',
    version: library === undefined || library.kind === 'mock' ? undefined : versionOf(library.path),
    tried,
    features: library?.features ?? {},
    plugins,
    ucx: {
      folder: ucx.folder,
      modules: ucx.modules.map((file) => ({
        name: moduleName(file),
        loaded: mapped.includes(file),
        reason: reasonOf(file),
      })),
      copies: copiesOfUcx(mapped.length > 0 ? mapped : mappedFiles()),
    },
    cuda: library?.cuda,
    system,
    processVm: { allowed: answer.memory === '', reason: answer.memory },
  };
  const ucxLoads = plugins.some(({ name, loads }) => name === 'UCX' && loads) && refusal === undefined;
  return {
    ok: report.kind === 'real' && ucxLoads && report.ucx.copies.length === 0,
    ...report,
    problems: problemsOf(report, ucxLoads, refusal, crash),
  };
}

/** The plugins, and why the UCX backend cannot be created though its plugin loads. */
async function pluginsOf(
  library: NixlLibrary,
): Promise<{ found: { name: string; loads: boolean }[]; refusal: string | undefined }> {
  const agent = await NixlAgent.create(`doctor-${process.pid}`, { library, backends: {} });
  try {
    const found = await agent.plugins();
    const mayBegin = library.kind === 'real' && found.some(({ name, loads }) => name === 'UCX' && loads);
    // UCX's own libraries and transports are loaded with its first backend.
    const refusal = mayBegin
      ? await agent.createBackend('UCX').then(
          () => undefined,
          (error: Error) => error.message,
        )
      : undefined;
    return { found, refusal };
  } finally {
    await agent.close();
  }
}
