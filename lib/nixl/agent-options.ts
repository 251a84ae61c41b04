import { isIPv4 } from 'node:net';
import { checkArray, checkObject, checkString, checkStringMap, hasControl } from '../check.js';
import { badArgument, shown } from '../errors.js';
import { boolean, custom, integer, milliseconds, type OptionTable, oneOf, optionTable, text } from '../options.js';
import { libraryOption, type NixlLibrary } from './library.js';
import { LIMIT_ROWS, type WaitLimit } from './limit.js';
import type { MemoryRegion, MemoryType } from './memory.js';

export interface NixlAgentOptions extends WaitLimit {
  /** @default `loadNixl()` */
  readonly library?: NixlLibrary;
  /**
   * The backends by name, each with its parameters. Source: NIXL's plugins, which `plugins()` lists.
   *
   * @default {UCX: {}}
   */
  readonly backends?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /**
   * How often the library's thread polls its connections. A higher value uses less CPU. From 1000 to 60000000.
   *
   * @default 10000
   */
  readonly progressDelayUs?: number;
  /**
   * The port on which peers send their metadata and fetch this agent's metadata. Every host that can reach the port on
   * any IPv4 address of this machine can do both, without authentication; see the trust boundary in `docs/nixl.md`.
   *
   * @default none
   */
  readonly listenPort?: number;
  /** Measures transfers; see `PreparedTransfer.telemetry`. @default false */
  readonly telemetry?: boolean;
}

/** The library converts the delay to a number of milliseconds of 32 bits. A minute is more than any program needs. */
const MAX_DELAY_US = 60_000_000;

/** @internal */
export const AGENT_OPTIONS: OptionTable<NixlAgentOptions> = optionTable<NixlAgentOptions>({
  library: libraryOption,
  backends: custom<NonNullable<NixlAgentOptions['backends']>>(
    'an object of parameters by backend',
    (path, backends) => {
      checkObject(path, backends);
      for (const [name, params] of Object.entries(backends)) checkStringMap(`${path}.${name}`, params);
    },
  ).about('The backends by name, each with its parameters.'),
  progressDelayUs: integer(1000, MAX_DELAY_US).about("How often the library's thread polls its connections."),
  listenPort: integer(1, 65535).about('The port for the metadata of peers.'),
  telemetry: boolean.about('Measures transfers.'),
  ...LIMIT_ROWS,
});

/** How `NixlAgent.close` waits. */
export interface NixlCloseOptions {
  /** How long the close waits for the library, in milliseconds. @default 5000 */
  readonly timeoutMs?: number;
}

/** @internal */
export const CLOSE_OPTIONS: OptionTable<NixlCloseOptions> = optionTable<NixlCloseOptions>({
  timeoutMs: milliseconds(1).about('How long the close waits.'),
});

/** A plugin that NIXL knows. */
export interface NixlPlugin {
  readonly name: string;
  /** False if the plugin cannot be loaded here, for example because a library that it needs is missing. */
  readonly loads: boolean;
  /** The kinds of memory that it moves. Empty if it does not load. */
  readonly memories: readonly MemoryType[];
  /** Its parameters with their defaults. Empty if it does not load. */
  readonly params: Readonly<Record<string, string>>;
}

/** Where a peer with a `listenPort` can be reached. */
export interface PeerAddress {
  /** An IPv4 address. NIXL does not resolve names, not even `localhost`. */
  readonly host: string;
  /** @default 8888 */
  readonly port?: number;
}

const PEER_ADDRESS: OptionTable<PeerAddress> = optionTable<PeerAddress>({
  host: custom<string>(
    'an IPv4 address',
    (path, host) => {
      checkString(path, host);
      if (!isIPv4(host))
        throw badArgument(
          new RangeError(
            `${path}: expected an IPv4 address such as 10.0.0.7, because NIXL knows no other, got ${shown(host)}`,
          ),
        );
    },
    'text',
  )
    .about('The IPv4 address.')
    .required(),
  port: integer(1, 65535).about('The port.'),
});

/** Which metadata, and how long to wait for it. */
export interface MetadataOptions extends WaitLimit {
  /**
   * Limits the metadata to the agent's connection and these regions, all of one kind of memory.
   *
   * @default all regions
   */
  readonly regions?: readonly MemoryRegion[];
}

/** @internal */
export const METADATA_OPTIONS: OptionTable<MetadataOptions> = optionTable<MetadataOptions>({
  regions: custom<readonly MemoryRegion[]>('an array of regions', (path, regions) =>
    checkArray(path, regions, 'regions'),
  ).about('Limits the metadata to these regions.'),
  ...LIMIT_ROWS,
});

/** How memory is allocated and registered. A region that is made after the limit is released again. */
export interface AllocateOptions extends WaitLimit {
  /** @default 'DRAM' */
  readonly memory?: 'DRAM' | 'VRAM';
  /** The ordinal of the GPU, for VRAM. @default 0 */
  readonly device?: number;
  /**
   * Requests huge pages for 2 MiB and more. One-sided copies pin pages: small pages halve their speed.
   *
   * @default true
   */
  readonly hugePages?: boolean;
  /** Registers with this backend only. @default all backends that accept the memory */
  readonly backend?: string;
}

/** @internal */
export const ALLOCATE_OPTIONS: OptionTable<AllocateOptions> = optionTable<AllocateOptions>({
  memory: oneOf('DRAM', 'VRAM').about('The kind of memory.'),
  device: integer(0, 1023).about('The ordinal of the GPU.'),
  hugePages: boolean.about('Requests huge pages.'),
  backend: text.about('Registers with this backend only.'),
  ...LIMIT_ROWS,
});

/** How memory is registered. A region that is made after the limit is released again. */
export interface RegisterOptions extends WaitLimit {
  /** Registers with this backend only. @default all backends that accept the memory */
  readonly backend?: string;
}

/** @internal */
export const REGISTER_OPTIONS: OptionTable<RegisterOptions> = optionTable<RegisterOptions>({
  backend: text.about('Registers with this backend only.'),
  ...LIMIT_ROWS,
});

const DEFAULT_PORT = 8888;

const SURROGATE = /\p{Surrogate}/u;

/**
 * Checks the name of an agent: metadata, messages and the library's errors identify the agent by it. Logs, keys of etcd
 * and C strings do not carry control characters as they are.
 */
export function checkAgentName(path: string, name: unknown): asserts name is string {
  checkString(path, name);
  if (name === '' || hasControl(name) || SURROGATE.test(name))
    throw badArgument(
      new RangeError(`${path}: expected a name without control characters, got ${JSON.stringify(name)}`),
    );
}

/** Checks a peer's address. No address means etcd. */
export function peerAddress(operation: string, address: PeerAddress | undefined): { host?: string; port?: number } {
  if (address === undefined) return {};
  PEER_ADDRESS.check(`${operation} address`, address);
  const { host, port = DEFAULT_PORT } = address;
  return { host, port };
}
