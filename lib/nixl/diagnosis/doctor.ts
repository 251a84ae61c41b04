import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { native } from '../../addon/invoke.js';
import { nested, type OptionTable, optionTable, signal } from '../../options.js';
import { NixlAgent } from '../agent.js';
import {
  INSTALL_HINT,
  LOAD_OPTIONS,
  libraryOption,
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

/** A plugin in the report. */
export interface NixlPluginReport {
  readonly name: string;
  readonly loads: boolean;
  /** Why it does not load, for example a missing library. Empty if it loads. */
  readonly reason: string;
}

/** The UCX library that NIXL's backend uses. */
export interface UcxReport {
  /** The folder of UCX's libraries. Undefined if none is loaded. */
  readonly folder: string | undefined;
  /** UCX's loadable transports: whether each is loaded, and why it cannot be. */
  readonly modules: readonly { readonly name: string; readonly loaded: boolean; readonly reason: string }[];
  /** The files of UCX's libraries if the process has more than one copy. Copies corrupt each other. */
  readonly copies: readonly string[];
}

/** Something that is wrong or missing, and how to fix it. */
export interface NixlProblem {
  readonly what: string;
  readonly fix: string;
}

/** The state of NIXL on this machine. Source: the library, the dynamic linker, /proc and /sys. */
export interface NixlReport {
  /** Whether the real library and its UCX backend load. */
  readonly ok: boolean;
  readonly kind: 'real' | 'mock' | 'none';
  /** The path of the library. Empty without the real library. */
  readonly path: string;
  /** The version of the wheel or the installation. Undefined if it is not known. */
  readonly version: string | undefined;
  /** The places that were searched without success. */
  readonly tried: readonly NixlTried[];
  /** Each feature of the C API with the symbols that this version of the library lacks. */
  readonly features: Readonly<Record<string, readonly string[]>>;
  readonly plugins: readonly NixlPluginReport[];
  readonly ucx: UcxReport;
  readonly cuda: NixlCuda | undefined;
  readonly system: SystemReport;
  /** Whether another process of this user may read the memory of this process. CMA needs that. */
  readonly processVm: { readonly allowed: boolean; readonly reason: string };
  /** What to fix, most important first. */
  readonly problems: readonly NixlProblem[];
}

const PROBE_MS = 60_000;
/** Memory that the probe tries to read. */
const readable = new ArrayBuffer(8);

const list = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);

const pluginFolder = (library: string): string => process.env['NIXL_PLUGIN_DIR'] ?? join(dirname(library), 'plugins');

const moduleName = (file: string): string =>
  basename(file)
    .replace(/\.so.*$/, '')
    .replace(/^lib/, '');

/** UCX's folder and the files of its modules, found by the libraries that the process has loaded. */
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
  startError: string | undefined,
  crash: string,
): NixlProblem[] {
  const problems: NixlProblem[] = [];
  const { kind, tried, plugins, ucx, system, processVm } = report;
  if (kind === 'none')
    problems.push({
      what: `libnixl_capi.so was not found: ${tried.length} places were searched`,
      fix: INSTALL_HINT,
    });
  if (startError !== undefined) {
    const tls = process.env['UCX_TLS'];
    problems.push({
      what: `UCX does not start: ${startError}`,
      fix:
        tls === undefined
          ? 'set UCX_LOG_LEVEL=info to see the reason'
          : `UCX_TLS=${tls} may allow too few transports: add tcp, or set ucx_error_handling_mode=none for the backend`,
    });
  } else if (kind === 'real' && !ucxLoads) {
    const reason = plugins.find(({ name }) => name === 'UCX')?.reason ?? 'the library has no such plugin';
    problems.push({
      what: `the UCX plugin does not load: ${reason}`,
      fix: 'install the whole wheel, or set NIXL_PLUGIN_DIR to the plugins of this library',
    });
  }
  if (ucx.copies.length > 0) {
    problems.push({
      what: `the process has more than one copy of UCX: ${ucx.copies.join(', ')}`,
      fix: 'load the other library that contains UCX (such as MPI) with the same UCX, or in another process',
    });
  }
  if (crash !== '') {
    problems.push({
      what: `a process that only loads the files of plugins and UCX crashes: ${crash}`,
      fix: 'check for libraries that are preloaded or have another version',
    });
  } else if (!processVm.allowed) {
    problems.push({
      what: `processes may not read each other's memory (${processVm.reason}): bytes between them go over TCP`,
      fix: 'run containers with --cap-add=SYS_PTRACE, or set kernel.yama.ptrace_scope=0',
    });
  }
  if (system.rdma.devices.length > 0) {
    for (const what of system.rdma.missing)
      problems.push({ what: `RDMA: ${what}`, fix: 'fix the reason named; until then other transports are used' });
  }
  return problems;
}

/** What the doctor examines. */
export interface NixlDoctorOptions {
  /** @default the library that `load` finds */
  readonly library?: NixlLibrary;
  /** How the library is loaded if `library` is not set. */
  readonly load?: NixlLoadOptions;
  /** Rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

const DOCTOR_OPTIONS: OptionTable<NixlDoctorOptions> = optionTable<NixlDoctorOptions>({
  library: libraryOption,
  load: nested(LOAD_OPTIONS).about('How the library is loaded.'),
  signal: signal.about('Ends the examination.'),
});

/**
 * Examines everything that NIXL needs. It checks the library, its plugins, UCX's modules, GPUs, RDMA devices, locked
 * memory, the limits of the container, and duplicate copies of UCX. A plugin or module that does not load is reported
 * with its reason.
 *
 * It loads the library into this process unless `library` is set, and starts one short-lived process. A machine without
 * NIXL is a report, not an error.
 *
 * @example
 * const report = await nixlDoctor();
 * console.log(formatNixlReport(report));
 */
export async function nixlDoctor(options: NixlDoctorOptions = {}): Promise<NixlReport> {
  DOCTOR_OPTIONS.check('nixlDoctor options', options);
  const { signal } = options;
  let library = options.library;
  let tried: readonly NixlTried[] = [];
  try {
    library ??= loadNixl({ mode: 'real', ...options.load });
  } catch (error) {
    if (!(error instanceof NixlLoadError)) throw error;
    tried = error.tried;
  }
  const { found, startError } = library === undefined ? { found: [], startError: undefined } : await pluginsOf(library);
  const mapped = library?.kind === 'real' ? mappedFiles() : [];
  const ucx = ucxFiles(mapped);
  const unloadable = found
    .filter(({ loads }) => !loads)
    .map(({ name }) => join(pluginFolder(library?.path ?? ''), `libplugin_${name}.so`));
  const unmapped = ucx.modules.filter((file) => !mapped.includes(file));
  const files = [...(library?.kind === 'real' ? unloadable : []), ...unmapped];
  const request: FilesQuestion = { files, address: native.nixlBufferAddress(readable) };
  // A file that the probe loads may crash it, for example a second copy of UCX. That is a finding, too.
  const { answer, crash } = await probe<FilesAnswer>('nixlDoctor', 'probe-files', request, {
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
    const reason = reasonOf(unloadable.find((file) => file.endsWith(`/libplugin_${name}.so`)) ?? '');
    return { name, loads, reason: loads ? '' : reason || 'the library rejects it' };
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
  const ucxLoads = plugins.some(({ name, loads }) => name === 'UCX' && loads) && startError === undefined;
  return {
    ok: report.kind === 'real' && ucxLoads && report.ucx.copies.length === 0,
    ...report,
    problems: problemsOf(report, ucxLoads, startError, crash),
  };
}

/** The plugins, and the error if the UCX backend cannot be created although its plugin loads. */
async function pluginsOf(
  library: NixlLibrary,
): Promise<{ found: { name: string; loads: boolean }[]; startError: string | undefined }> {
  const agent = await NixlAgent.create(`doctor-${process.pid}`, { library, backends: {} });
  try {
    const found = await agent.plugins();
    const canStart = library.kind === 'real' && found.some(({ name, loads }) => name === 'UCX' && loads);
    // The first backend loads UCX's libraries and transports.
    const startError = canStart
      ? await agent.createBackend('UCX').then(
          () => undefined,
          (error: Error) => error.message,
        )
      : undefined;
    return { found, startError };
  } finally {
    await agent.close();
  }
}
