import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pack, unpack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import { loaded } from '../addon/loaded.js';
import type { Handle } from '../addon/native.js';
import { checkInteger, checkOneOf, checkOptions, checkString } from '../check.js';
import { NixlError } from '../errors.js';
import { versionOf } from './version.js';

/** `real` loads NIXL and fails without it, `mock` never does, `auto` takes the mock where the library cannot be loaded. */
export type NixlMode = 'real' | 'mock' | 'auto';

const MODES = ['real', 'mock', 'auto'] as const;

/** What of the library depends on its version; see `NixlLibrary.features`. */
export type NixlFeature =
  | 'preparedLists'
  | 'partialMetadata'
  | 'metadataExchange'
  | 'telemetry'
  | 'cost'
  | 'queryMemory'
  | 'customParam'
  | 'memView'
  | 'detailedStatus';

const FEATURES: readonly NixlFeature[] = [
  'preparedLists',
  'partialMetadata',
  'metadataExchange',
  'telemetry',
  'cost',
  'queryMemory',
  'customParam',
  'memView',
  'detailedStatus',
];

/** How the mock behaves; the settings hold for the process, for transfers posted from then on. */
export interface MockKnobs {
  /** Whether a post is done when it returns; `random` draws. @default 'random' */
  readonly completion?: 'random' | 'atOnce' | 'delayed';
  /** Of the draws. @default 1 */
  readonly seed?: number;
  /** A delayed transfer is done after so many polls at the earliest. @default 0 */
  readonly polls?: number;
  /** And so many microseconds after its post. @default 0 */
  readonly latencyUs?: number;
  /** Added to it, 0 for none. @default 0 */
  readonly bytesPerSecond?: number;
  /** A transfer that was given up goes on copying for so long. @default 20000 */
  readonly lateCopyUs?: number;
  /** This post of the process, counted from 1, fails. @default none */
  readonly failAt?: number;
  /** Posted transfers stay under way. @default false */
  readonly neverComplete?: boolean;
  /** The peer of this name counts as dead. @default none */
  readonly dropPeer?: string;
  /** GPUs whose memory is the host's. @default 0 */
  readonly fakeGpus?: number;
}

const KNOBS = [
  'completion',
  'seed',
  'polls',
  'latencyUs',
  'bytesPerSecond',
  'lateCopyUs',
  'failAt',
  'neverComplete',
  'dropPeer',
  'fakeGpus',
];

/** Where the library is looked for, and how it is loaded. */
export interface NixlLoadOptions {
  /** @default the environment's DYNAMO_NIXL, else 'real' */
  readonly mode?: NixlMode;
  /** The file `libnixl_capi.so`; nothing else is tried. */
  readonly path?: string;
  /** The folder of an installation. @default the environment's NIXL_HOME */
  readonly home?: string;
  /** The library's log level, TRACE to FATAL. It is read once, when the library is loaded. @default the environment's NIXL_LOG_LEVEL, else WARN */
  readonly logLevel?: string;
  /** Loads with RTLD_DEEPBIND, which a preloaded allocator and sanitizers do not survive. @default false */
  readonly deepBind?: boolean;
  /**
   * Sets, where they are unset, UCX_DEBUG_SIGNO=0 and UCX_HANDLE_ERRORS=none, as UCX would take SIGHUP and may take the
   * SIGSEGV that WebAssembly needs, and UCX_MEM_MMAP_HOOK_MODE=none, as the test of its hooks can break the heap of a process
   * with threads. @default true
   */
  readonly safeEnvironment?: boolean;
  /** Only with the mock. */
  readonly mock?: MockKnobs;
}

/** A place that was looked at, and why the library was not loaded from there. */
export interface NixlTried {
  readonly path: string;
  readonly reason: string;
}

/** The CUDA driver, as far as it is there. */
export interface NixlCuda {
  readonly available: boolean;
  /** Why it is not available, or empty. */
  readonly reason: string;
  /** Such as 12040 for 12.4; 0 without a driver. */
  readonly driverVersion: number;
  readonly devices: readonly { readonly name: string; readonly totalBytes: number }[];
}

interface Report {
  readonly tried: NixlTried[];
  readonly kind: 'real' | 'mock';
  readonly path: string;
  readonly functions: number;
  readonly features: { name: string; available: boolean; missing: string[] }[];
  readonly cuda: NixlCuda;
}

/** NIXL cannot be loaded. */
export class NixlLoadError extends NixlError {
  override readonly name: string = 'NixlLoadError';

  /** @internal */
  constructor(
    /** Where it was looked for, in order, and why each place was passed. */
    readonly tried: readonly NixlTried[],
  ) {
    const places = tried.map(({ path, reason }) => `\n  ${path}: ${reason}`).join('');
    const fix = 'python3 -m venv .peers && .peers/bin/pip install --no-deps nixl-cu12==1.5.1';
    super('Unavailable', `loadNixl: libnixl_capi.so cannot be loaded. This installs it: ${fix}\nTried:${places}`, {
      reason: 'nixl.not_loaded',
      operation: 'loadNixl',
    });
  }
}

/** The loaded library, or the mock. */
export class NixlLibrary {
  /** @internal */
  constructor(
    readonly kind: 'real' | 'mock',
    /** The file; empty for the mock. */
    readonly path: string,
    /** How many of the library's functions are there. */
    readonly functions: number,
    /** Each feature with the symbols that it lacks; none where it is available. */
    readonly features: Readonly<Record<string, readonly string[]>>,
    /** The CUDA driver, or the fake GPUs of the mock. */
    readonly cuda: NixlCuda,
    /** @internal */
    readonly handle: Handle,
  ) {}

  /** Whether all that a feature needs is there. */
  supports(feature: NixlFeature): boolean {
    checkOneOf('library.supports feature', feature, FEATURES);
    return this.features[feature]?.length === 0;
  }
}

/** Python's folders for packages below an installation or environment. */
function sitePackages(prefix: string): string[] {
  const lib = join(prefix, 'lib');
  if (!existsSync(lib)) return [];
  const versions = readdirSync(lib).filter((name) => name.startsWith('python3'));
  return versions
    .flatMap((name) => [join(lib, name, 'site-packages'), join(lib, name, 'dist-packages')])
    .filter((folder) => existsSync(folder));
}

/** The folder itself and all above it. */
function upwards(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...upwards(parent)];
}

function pythonFolders(): string[] {
  const { VIRTUAL_ENV, CONDA_PREFIX } = process.env;
  const projects = [...upwards(process.cwd()), dirname(dirname(dirname(fileURLToPath(import.meta.url))))];
  const prefixes = [
    VIRTUAL_ENV,
    CONDA_PREFIX,
    ...projects.map((folder) => join(folder, '.peers')),
    join(homedir(), '.local'),
    '/usr/local',
    '/usr',
  ];
  return [...new Set(prefixes.filter((prefix) => prefix !== undefined).flatMap(sitePackages))];
}

function libraryOf(reply: unknown): NixlLibrary | readonly NixlTried[] {
  const [bytes, handle] = (reply instanceof Uint8Array ? [reply] : reply) as [Uint8Array, Handle?];
  const report = unpack(bytes) as Report;
  if (handle === undefined) return report.tried;
  const features = Object.fromEntries(report.features.map(({ name, missing }) => [name, missing]));
  return new NixlLibrary(report.kind, report.path, report.functions, features, report.cuda, handle);
}

function loadReal(options: NixlLoadOptions): NixlLibrary | readonly NixlTried[] {
  const {
    path = '',
    home = process.env['NIXL_HOME'] ?? '',
    logLevel = '',
    deepBind = false,
    safeEnvironment = true,
  } = options;
  const args = pack({ path, home, logLevel, deepBind, safeEnvironment, sitePackages: pythonFolders(), system: true });
  const library = libraryOf(invokeSync(native.nixlLibraryLoad, 'loadNixl', { args }));
  if (library instanceof NixlLibrary) loaded.nixl = versionOf(library.path) ?? 'unknown';
  return library;
}

function loadMock(knobs: MockKnobs): NixlLibrary {
  return libraryOf(invokeSync(native.nixlLibraryMock, 'loadNixl', { args: pack(knobs) })) as NixlLibrary;
}

function checkKnobs(path: string, knobs: MockKnobs): void {
  checkOptions(path, knobs, KNOBS);
  if (knobs.completion !== undefined)
    checkOneOf(`${path}.completion`, knobs.completion, ['random', 'atOnce', 'delayed']);
  if (knobs.dropPeer !== undefined) checkString(`${path}.dropPeer`, knobs.dropPeer);
  for (const name of ['seed', 'polls', 'latencyUs', 'bytesPerSecond', 'lateCopyUs', 'failAt', 'fakeGpus'] as const) {
    if (knobs[name] !== undefined) checkInteger(`${path}.${name}`, knobs[name], 0);
  }
}

/**
 * Loads NIXL, once a process; agents do it by themselves where they are given no library. Blocks for up to 0.3 s. Looks at
 * `path` alone where it is given, else at NIXL_HOME, the system's libraries, and Python's wheels `nixl-cu12` and `nixl-cu13`
 * (an active environment, a `.peers` folder here or above, the user's and the system's packages). Throws `NixlLoadError`.
 *
 * @example
 * const library = loadNixl({ mode: 'auto' });
 * if (library.kind === 'mock') console.log('no NIXL here: bytes move through the mock');
 */
export function loadNixl(options: NixlLoadOptions = {}): NixlLibrary {
  checkOptions('loadNixl options', options, [
    'mode',
    'path',
    'home',
    'logLevel',
    'deepBind',
    'safeEnvironment',
    'mock',
  ]);
  const { mode = (process.env['DYNAMO_NIXL'] as NixlMode | undefined) ?? 'real', mock = {} } = options;
  checkOneOf('loadNixl options.mode', mode, MODES);
  for (const name of ['path', 'home', 'logLevel'] as const)
    if (options[name] !== undefined) checkString(`loadNixl options.${name}`, options[name]);
  checkKnobs('loadNixl options.mock', mock);
  if (mode === 'mock') return loadMock(mock);
  const found = loadReal(options);
  if (found instanceof NixlLibrary) return found;
  if (mode === 'auto') return loadMock(mock);
  throw new NixlLoadError(found);
}
