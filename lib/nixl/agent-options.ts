import { checkInteger, checkOptions, checkString } from '../check.js';
import type { NixlLibrary } from './library.js';
import type { WaitLimit } from './limit.js';
import type { MemoryRegion, MemoryType } from './memory.js';

export interface NixlAgentOptions extends WaitLimit {
  /** @default `loadNixl()` */
  readonly library?: NixlLibrary;
  /** Each with its parameters. Source: NIXL's plugins, which `plugins()` lists. @default {UCX: {}} */
  readonly backends?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** How often the library's own thread looks after connections; less costs processor time. At least 1000. @default 10000 */
  readonly progressDelayUs?: number;
  /** Takes metadata from peers that send it to this port, and gives its own to those that fetch it. @default none */
  readonly listenPort?: number;
  /** Measures transfers; see `PreparedTransfer.telemetry`. @default false */
  readonly telemetry?: boolean;
}

/** A plugin that NIXL knows of. */
export interface NixlPlugin {
  readonly name: string;
  /** Whether it can be loaded here: its file may be there and what it needs not. */
  readonly loads: boolean;
  /** What it moves; empty where it does not load. */
  readonly memories: readonly MemoryType[];
  /** Its parameters with their defaults; empty where it does not load. */
  readonly params: Readonly<Record<string, string>>;
}

/** Where a peer listens (`listenPort`), by IPv4 address. */
export interface PeerAddress {
  readonly host: string;
  /** @default 8888 */
  readonly port?: number;
}

/** Which metadata, and how long to wait for it. */
export interface MetadataOptions extends WaitLimit {
  /** How the agent is reached, and these regions of one kind alone. @default all */
  readonly regions?: readonly MemoryRegion[];
}

/** What memory is allocated, and with which backend it is registered. What comes after a limit is released again. */
export interface AllocateOptions extends WaitLimit {
  /** @default 'DRAM' */
  readonly memory?: 'DRAM' | 'VRAM';
  /** The GPU, for VRAM. @default 0 */
  readonly device?: number;
  /** Asks for huge pages from 2 MiB on: one-sided copies pin pages, and small ones halve their speed. @default true */
  readonly hugePages?: boolean;
  /** Registers with this backend alone. @default all that take the memory */
  readonly backend?: string;
}

/** With which backend memory is registered. What comes after a limit is released again. */
export interface RegisterOptions extends WaitLimit {
  /** Registers with this backend alone. @default all that take the memory */
  readonly backend?: string;
}

const DEFAULT_PORT = 8888;

export function addressOf(operation: string, address: PeerAddress | undefined): { host?: string; port?: number } {
  if (address === undefined) return {};
  checkOptions(`${operation} address`, address, ['host', 'port']);
  const { host, port = DEFAULT_PORT } = address;
  checkString(`${operation} address.host`, host);
  checkInteger(`${operation} address.port`, port, 1, 65535);
  return { host, port };
}
