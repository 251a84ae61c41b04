import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pack, unpack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import { loaded } from '../addon/loaded.js';
import type { Handle } from '../addon/native.js';
import { checkInstance, checkOneOf, MAX_U32 } from '../check.js';
import { NixlError } from '../errors.js';
import {
  boolean,
  custom,
  integer,
  nested,
  type Option,
  type OptionTable,
  oneOf,
  optionTable,
  text,
} from '../options.js';
import { versionOf } from './version.js';

/** `real` loads NIXL and fails without it. `mock` never loads it. `auto` uses the mock if NIXL cannot be loaded. */
export type NixlMode = 'real' | 'mock' | 'auto';

const MODES = ['real', 'mock', 'auto'] as const;

/** A feature that some versions of the library lack; see `NixlLibrary.features`. */
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

/** How the mock behaves. The settings apply to the whole process, and to transfers that are posted later. */
export interface MockKnobs {
  /** When a post completes: before it returns, or later. `random` chooses for each post. @default 'random' */
  readonly completion?: 'random' | 'immediate' | 'delayed';
  /** The seed of the random choices. @default 1 */
  readonly seed?: number;
  /** The least number of polls before a delayed transfer completes. @default 0 */
  readonly polls?: number;
  /** The least time between the post and the completion of a delayed transfer. @default 0 */
  readonly latencyUs?: number;
  /** The simulated bandwidth, which adds to the latency. 0 for no limit. @default 0 */
  readonly bytesPerSecond?: number;
  /** How long a transfer that was released while active continues to copy. @default 20000 */
  readonly lateCopyUs?: number;
  /** The number of the post that fails; the first post of the process is 1. @default none */
  readonly failAt?: number;
  /** Posted transfers never complete. @default false */
  readonly neverComplete?: boolean;
  /** The name of a peer that appears dead. @default none */
  readonly dropPeer?: string;
  /** The number of simulated GPUs, whose memory is host memory. @default 0 */
  readonly fakeGpus?: number;
}

/** The longest time of the mock, in microseconds: an hour. */
const MAX_MOCK_US = 3_600_000_000;

/** As many as the ordinals that `allocate` accepts. */
const MAX_GPUS = 1024;

const MOCK_KNOBS: OptionTable<MockKnobs> = optionTable<MockKnobs>({
  completion: oneOf('random', 'immediate', 'delayed').about('When a post completes.'),
  seed: integer(0).about('The seed of the random choices.'),
  polls: integer(0, MAX_U32).about('The least number of polls before a delayed transfer completes.'),
  latencyUs: integer(0, MAX_MOCK_US).about('The least time between the post and the completion of a delayed transfer.'),
  bytesPerSecond: integer(0).about('The simulated bandwidth.'),
  lateCopyUs: integer(0, MAX_MOCK_US).about('How long a transfer that was released while active continues to copy.'),
  failAt: integer(0).about('The number of the post that fails.'),
  neverComplete: boolean.about('Posted transfers never complete.'),
  dropPeer: text.about('The name of a peer that appears dead.'),
  fakeGpus: integer(0, MAX_GPUS).about('The number of simulated GPUs.'),
});

/** Where the loader searches for the library, and how it is loaded. */
export interface NixlLoadOptions {
  /** @default the environment variable DYNAMO_NIXL, else 'real' */
  readonly mode?: NixlMode;
  /** The path of `libnixl_capi.so`. If it is set, no other place is searched. */
  readonly path?: string;
  /** The folder of an installation, or the folder with the file. @default the environment variable NIXL_HOME */
  readonly home?: string;
  /**
   * The library's log level, TRACE to FATAL. The library reads it once, when it is loaded.
   *
   * @default the environment variable NIXL_LOG_LEVEL, else WARN
   */
  readonly logLevel?: string;
  /** Loads with RTLD_DEEPBIND, which breaks preloaded allocators and sanitizers. @default false */
  readonly deepBind?: boolean;
  /**
   * Sets three variables of UCX unless they are set. UCX_DEBUG_SIGNO=0: else UCX handles SIGHUP.
   * UCX_HANDLE_ERRORS=none: else UCX may handle SIGSEGV, which WebAssembly needs. UCX_MEM_MMAP_HOOK_MODE=none: else UCX
   * tests its memory hooks, which can corrupt the heap of a process with threads.
   *
   * @default true
   */
  readonly safeEnvironment?: boolean;
  /** Settings of the mock. */
  readonly mock?: MockKnobs;
}

/** @internal */
export const LOAD_OPTIONS: OptionTable<NixlLoadOptions> = optionTable<NixlLoadOptions>({
  mode: oneOf(...MODES)
    .env('DYNAMO_NIXL')
    .about('Whether NIXL or the mock is loaded.'),
  path: text.about('The path of `libnixl_capi.so`.'),
  home: text.env('NIXL_HOME').about('The folder of an installation.'),
  logLevel: text.env('NIXL_LOG_LEVEL').about("The library's log level."),
  deepBind: boolean.about('Loads with RTLD_DEEPBIND.'),
  safeEnvironment: boolean.about('Sets variables of UCX that make it safe in Node.js.'),
  mock: nested(MOCK_KNOBS).about('Settings of the mock.'),
});

/** A place that was searched, and why the library was not loaded from there. */
export interface NixlTried {
  readonly path: string;
  readonly reason: string;
}

/** The CUDA driver, if there is one. */
export interface NixlCuda {
  readonly available: boolean;
  /** Why it is not available. Empty if it is. */
  readonly reason: string;
  /** For example 12040 for 12.4. 0 without a driver. */
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

/** @internal How to install NIXL, for messages. */
export const INSTALL_HINT =
  'pip install --no-deps nixl-cu12==1.5.1, or set NIXL_HOME to the folder that contains libnixl_capi.so';

/** How the native loader begins the reason of a file that it refuses; see `native/nixl/real.cc`. */
const UNTRUSTED = 'not trusted: ';

/**
 * NIXL cannot be loaded. The reason is `nixl.untrusted` if a library was found that others could have written, else
 * `nixl.not_loaded`.
 */
export class NixlLoadError extends NixlError {
  override readonly name: string = 'NixlLoadError';

  /** @internal */
  constructor(
    /** The places that were searched, in order, and why each was rejected. */
    readonly tried: readonly NixlTried[],
  ) {
    const places = tried.map(({ path, reason }) => `\n  ${path}: ${reason}`).join('');
    const refused = tried.find(({ reason }) => reason.startsWith(UNTRUSTED));
    const what =
      refused === undefined
        ? `libnixl_capi.so cannot be loaded. To install it: ${INSTALL_HINT}.`
        : `${refused.path} is not loaded, because it is ${refused.reason}.`;
    super('Unavailable', `loadNixl: ${what}\nTried:${places}`, {
      reason: refused === undefined ? 'nixl.not_loaded' : 'nixl.untrusted',
      operation: 'loadNixl',
    });
  }
}

/** The loaded library, or the mock. */
export class NixlLibrary {
  /** @internal */
  constructor(
    readonly kind: 'real' | 'mock',
    /** The path of the library. Empty for the mock. */
    readonly path: string,
    /** How many of the C API's functions this library has. */
    readonly functions: number,
    /** Each feature with its missing symbols. An available feature has none. */
    readonly features: Readonly<Record<string, readonly string[]>>,
    /** The CUDA driver, or the simulated GPUs of the mock. */
    readonly cuda: NixlCuda,
    /** @internal */
    readonly handle: Handle<'nixlLibrary'>,
  ) {}

  /** Whether the library has every symbol of a feature. */
  supports(feature: NixlFeature): boolean {
    checkOneOf('library.supports feature', feature, FEATURES);
    return this.features[feature]?.length === 0;
  }
}

/** @internal The row of an option that takes a library. */
export const libraryOption: Option<NixlLibrary> = custom<NixlLibrary>('a NixlLibrary', (path, value) =>
  checkInstance(path, value, NixlLibrary),
).about('The library or the mock.');

/** Python's package folders below an installation or environment. */
function sitePackages(prefix: string): string[] {
  const lib = join(prefix, 'lib');
  if (!existsSync(lib)) return [];
  const versions = readdirSync(lib).filter((name) => name.startsWith('python3'));
  return versions
    .flatMap((name) => [join(lib, name, 'site-packages'), join(lib, name, 'dist-packages')])
    .filter((folder) => existsSync(folder));
}

/**
 * The folders of Python's packages, without any that depends on the working folder: a program may be started where
 * others can write. `.peers` of this package is what the set-up of a development checkout makes.
 */
function pythonFolders(): string[] {
  const { VIRTUAL_ENV, CONDA_PREFIX } = process.env;
  const own = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const prefixes = [VIRTUAL_ENV, CONDA_PREFIX, join(own, '.peers'), join(homedir(), '.local'), '/usr/local', '/usr'];
  const absolute = prefixes.filter((prefix) => prefix !== undefined && isAbsolute(prefix)) as string[];
  return [...new Set(absolute.flatMap(sitePackages))];
}

/** The folder of `NIXL_HOME`, which must not depend on the working folder. */
function homeVariable(): string {
  const home = process.env['NIXL_HOME'] ?? '';
  if (home !== '' && !isAbsolute(home))
    throw new RangeError(`NIXL_HOME: expected an absolute path, got ${JSON.stringify(home)}`);
  return home;
}

/** An absolute path. Empty stays empty. */
const absolute = (path: string): string => (path === '' ? '' : resolve(path));

function libraryOf(reply: unknown): NixlLibrary | readonly NixlTried[] {
  const [bytes, handle] = (reply instanceof Uint8Array ? [reply] : reply) as [Uint8Array, Handle<'nixlLibrary'>?];
  const report = unpack(bytes) as Report;
  if (handle === undefined) return report.tried;
  const features = Object.fromEntries(report.features.map(({ name, missing }) => [name, missing]));
  return new NixlLibrary(report.kind, report.path, report.functions, features, report.cuda, handle);
}

function loadReal(options: NixlLoadOptions): NixlLibrary | readonly NixlTried[] {
  const { path = '', home = homeVariable(), logLevel = '', deepBind = false, safeEnvironment = true } = options;
  const args = pack({
    path: absolute(path),
    home: absolute(home),
    logLevel,
    deepBind,
    safeEnvironment,
    sitePackages: pythonFolders(),
    system: true,
  });
  const library = libraryOf(invokeSync(native.nixlLibraryLoad, 'loadNixl', { args }));
  if (library instanceof NixlLibrary) loaded.nixl = versionOf(library.path) ?? 'unknown';
  return library;
}

function loadMock(knobs: MockKnobs): NixlLibrary {
  return libraryOf(invokeSync(native.nixlLibraryMock, 'loadNixl', { args: pack(knobs) })) as NixlLibrary;
}

/**
 * Loads NIXL, once per process. An agent that is created without a library calls it. Blocks for up to 0.3 s.
 *
 * Without `path` it searches NIXL_HOME, the system's libraries, and the Python wheels `nixl-cu12` and `nixl-cu13`. It
 * finds wheels in the active environment, in the folder `.peers` of this package, and among the user's and the system's
 * packages. The working folder is never searched.
 *
 * The library, the files that it loads and the folders above them must belong to root or to the user of this process,
 * and must not be writable by others. A file that does not fulfil this is refused with the reason `nixl.untrusted`.
 *
 * @throws NixlLoadError if NIXL cannot be loaded
 *
 * @example
 * const library = loadNixl({ mode: 'auto' });
 * if (library.kind === 'mock') console.log('NIXL is not installed: the mock moves the bytes');
 */
export function loadNixl(options: NixlLoadOptions = {}): NixlLibrary {
  LOAD_OPTIONS.check('loadNixl options', options);
  const { mode = process.env['DYNAMO_NIXL'] ?? 'real', mock = {} } = options;
  checkOneOf('DYNAMO_NIXL', mode, MODES);
  if (mode === 'mock') return loadMock(mock);
  const found = loadReal(options);
  if (found instanceof NixlLibrary) return found;
  const error = new NixlLoadError(found);
  if (mode !== 'auto') throw error;
  if (error.reason === 'nixl.untrusted') process.emitWarning(`the mock is used: ${error.message}`);
  return loadMock(mock);
}
