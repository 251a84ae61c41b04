import { unpack } from '../addon/codec.js';
import { invoke, native } from '../addon/invoke.js';
import type { Bytes, Handle } from '../addon/native.js';
import { checkInteger, checkObject, checkOneOf, checkString, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { integer, type OptionTable, oneOf, optionTable } from '../options.js';
import type { NixlAgent } from './agent.js';
import { checkedLimit, type WaitLimit } from './limit.js';
import { checkByteRange, MEMORY_TYPES, type MemoryDescriptor, type MemoryType } from './memory.js';
import { addressOf, addressRow } from './register.js';

/** Memory of a peer by its address, such as one of another program that has no descriptors. */
export interface RemoteAddress {
  readonly address: bigint;
  readonly bytes: number;
  /** @default 'DRAM' */
  readonly memory?: MemoryType;
  /** The ordinal of a device, the descriptor of a file, else 0. @default 0 */
  readonly device?: number;
}

const REMOTE_ADDRESS: OptionTable<RemoteAddress> = optionTable<RemoteAddress>({
  address: addressRow,
  bytes: integer(0).about('The length of the memory.').required(),
  memory: oneOf(...MEMORY_TYPES).about('The kind of memory.'),
  device: integer(0).about('The ordinal of the device.'),
});

/** A range of a peer's memory, inside one region that its metadata contains. */
export class RemoteMemory {
  /** @internal */
  constructor(
    readonly peer: NixlPeer,
    /** @internal A number, which is exact for every address. */
    readonly at: number,
    readonly bytes: number,
    readonly memory: MemoryType,
    readonly device: number,
  ) {}

  get address(): bigint {
    return BigInt(this.at);
  }

  /** A part of it, from `offset` on. Without `bytes`, all up to the end. */
  slice(offset: number, bytes?: number): RemoteMemory {
    const length = checkByteRange('slice', offset, bytes, this.bytes);
    return new RemoteMemory(this.peer, this.at + offset, length, this.memory, this.device);
  }
}

/**
 * Another agent, as described by its metadata. A peer that restarts under its name becomes another peer: `connect` with
 * the new metadata returns one of a higher generation. What was made with the old one fails with `nixl.peer_restarted`.
 */
export class NixlPeer {
  /** @internal */
  constructor(
    readonly agent: NixlAgent,
    /** @internal */
    readonly handle: Handle<'nixlPeer'>,
    readonly name: string,
    /** How many starts of the peer this agent has seen, from 1 on. */
    readonly generation: number,
  ) {}

  /** @internal */
  static of(agent: NixlAgent, [bytes, handle]: [Bytes, Handle<'nixlPeer'>]): NixlPeer {
    const { name, generation } = unpack(bytes) as { name: string; generation: number };
    return new NixlPeer(agent, handle, name, generation);
  }

  /**
   * A region of the peer, from the descriptor that `MemoryRegion.descriptor` returned there, or by its address. Whether
   * the peer's metadata contains the region is only checked by a transfer.
   *
   * @example
   * const block = peer.memory({ address: 0x7f00_0000n, bytes: 65536, memory: 'VRAM', device: 1 });
   */
  memory(where: MemoryDescriptor | RemoteAddress): RemoteMemory {
    const path = 'peer.memory descriptor';
    checkObject(path, where);
    return typeof where.address === 'bigint' ? this.#at(path, where) : this.#described(path, where as MemoryDescriptor);
  }

  #at(path: string, where: object): RemoteMemory {
    REMOTE_ADDRESS.check(path, where);
    const { address, bytes, memory = 'DRAM', device = 0 } = where;
    return new RemoteMemory(this, addressOf(`${path}.address`, address, bytes), bytes, memory, device);
  }

  #described(path: string, descriptor: MemoryDescriptor): RemoteMemory {
    const { agent, address, bytes, memory, device } = descriptor;
    checkString(`${path}.agent`, agent);
    if (agent !== this.name)
      throw badArgument(
        new TypeError(`${path}.agent: expected ${JSON.stringify(this.name)}, got ${JSON.stringify(agent)}`),
      );
    checkString(`${path}.address`, address);
    if (!/^0x[0-9a-f]+$/i.test(address))
      throw badArgument(
        new TypeError(`${path}.address: expected hexadecimal such as 0x7f00, got ${JSON.stringify(address)}`),
      );
    checkInteger(`${path}.bytes`, bytes, 0);
    checkOneOf(`${path}.memory`, memory, MEMORY_TYPES);
    checkInteger(`${path}.device`, device, 0);
    const at = Number(address);
    checkInteger(`${path}.address`, at, 0, Number.MAX_SAFE_INTEGER - bytes);
    return new RemoteMemory(this, at, bytes, memory, device);
  }

  /** Sends a message to the peer. Resolves when the library has accepted the message, not when the peer has read it. */
  async notify(message: Uint8Array | string, limit: WaitLimit = {}): Promise<void> {
    const options = checkedLimit('peer.notify', limit);
    checkMessage('peer.notify message', message);
    await invoke(
      native.nixlAgentNotify,
      'peer.notify',
      { handle: this.agent.handle('peer.notify'), other: this.handle, payload: messageBytes(message) },
      options,
    );
  }

  /**
   * Disconnects from the peer. New transfers with it are refused; the connection ends after those in flight. A limit
   * ends the wait, not the disconnect. Idempotent.
   */
  async disconnect(limit: WaitLimit = {}): Promise<void> {
    const options = checkedLimit('peer.disconnect', limit);
    if (this.agent.isOpen) await invoke(native.nixlPeerDisconnect, 'peer.disconnect', { handle: this.handle }, options);
  }
}

const utf8 = new TextEncoder();

/** Checks a message for a peer. */
export function checkMessage(path: string, message: unknown): asserts message is Uint8Array | string {
  if (typeof message !== 'string' && !(message instanceof Uint8Array))
    wrongType(path, 'a Uint8Array or a string', message);
}

/** The bytes of a message that is checked already. */
export function messageBytes(message: Uint8Array | string): Uint8Array {
  return typeof message === 'string' ? utf8.encode(message) : message;
}
