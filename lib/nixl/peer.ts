import { unpack } from '../addon/codec.js';
import { invoke, native } from '../addon/invoke.js';
import type { Bytes, Handle } from '../addon/native.js';
import { checkInteger, checkObject, checkOneOf, checkString, wrongType } from '../check.js';
import type { NixlAgent } from './agent.js';
import { onlyLimited, type WaitLimit } from './limit.js';
import { checkRange, MEMORY_TYPES, type MemoryDescriptor, type MemoryType } from './memory.js';

/** A run of bytes of a peer's, inside one region that its metadata tells. */
export class RemoteMemory {
  /** @internal */
  constructor(
    readonly peer: NixlPeer,
    /** @internal As a number, which is exact for every address. */
    readonly at: number,
    readonly bytes: number,
    readonly memory: MemoryType,
    readonly device: number,
  ) {}

  get address(): bigint {
    return BigInt(this.at);
  }

  /** A part of it, from `offset` on. */
  slice(offset: number, bytes?: number): RemoteMemory {
    const length = checkRange('slice', offset, bytes, this.bytes);
    return new RemoteMemory(this.peer, this.at + offset, length, this.memory, this.device);
  }
}

/**
 * Another agent, as its metadata told it. When it is started anew under its name, it is another peer: `connect` with the new
 * metadata gives one of a higher generation, and what was made with this one fails with `nixl.peer_restarted`.
 */
export class NixlPeer {
  /** @internal */
  constructor(
    readonly agent: NixlAgent,
    /** @internal */
    readonly handle: Handle,
    readonly name: string,
    /** Counts from 1 how often this agent saw the peer start. */
    readonly generation: number,
  ) {}

  /** @internal */
  static of(agent: NixlAgent, [bytes, handle]: [Bytes, Handle]): NixlPeer {
    const { name, generation } = unpack(bytes) as { name: string; generation: number };
    return new NixlPeer(agent, handle, name, generation);
  }

  /** A region of the peer's, from what `MemoryRegion.descriptor` gave there. Whether the metadata tells it shows when it is used. */
  memory(descriptor: MemoryDescriptor): RemoteMemory {
    const path = 'peer.memory descriptor';
    checkObject(path, descriptor);
    const { agent, address, bytes, memory, device } = descriptor;
    checkString(`${path}.agent`, agent);
    if (agent !== this.name)
      throw new TypeError(`${path}.agent: expected ${JSON.stringify(this.name)}, got ${JSON.stringify(agent)}`);
    checkString(`${path}.address`, address);
    if (!/^0x[0-9a-f]+$/i.test(address))
      throw new TypeError(`${path}.address: expected hexadecimal such as 0x7f00, got ${JSON.stringify(address)}`);
    checkInteger(`${path}.bytes`, bytes, 0);
    checkOneOf(`${path}.memory`, memory, MEMORY_TYPES);
    checkInteger(`${path}.device`, device, 0);
    const at = Number(address);
    checkInteger(`${path}.address`, at, 0, Number.MAX_SAFE_INTEGER - bytes);
    return new RemoteMemory(this, at, bytes, memory, device);
  }

  /** Sends it a message. Resolves when the message was handed over, not when it was read. */
  async notify(message: Uint8Array | string, limit: WaitLimit = {}): Promise<void> {
    const options = onlyLimited('peer.notify', limit);
    await invoke(
      native.nixlAgentNotify,
      'peer.notify',
      {
        handle: this.agent.open('peer.notify'),
        other: this.handle,
        payload: messageBytes('peer.notify message', message),
      },
      options,
    );
  }

  /**
   * Forgets it: no transfer with it begins any more, those under way are waited for, and then its connection goes. A limit
   * ends the wait, not the end. Idempotent.
   */
  async disconnect(limit: WaitLimit = {}): Promise<void> {
    const options = onlyLimited('peer.disconnect', limit);
    if (this.agent.isOpen) await invoke(native.nixlPeerDisconnect, 'peer.disconnect', { handle: this.handle }, options);
  }
}

const utf8 = new TextEncoder();

export function messageBytes(path: string, message: Uint8Array | string): Uint8Array {
  if (typeof message === 'string') return utf8.encode(message);
  if (!(message instanceof Uint8Array)) wrongType(path, 'a Uint8Array or a string', message);
  return message;
}
