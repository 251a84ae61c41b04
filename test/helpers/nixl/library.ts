import {
  loadNixl,
  type MemoryRegion,
  NixlAgent,
  type NixlAgentOptions,
  type NixlLibrary,
  NixlLoadError,
  type NixlPeer,
  type RemoteMemory,
} from 'dynamo-node';
import { onTestFinished } from 'vitest';

/** What a suite runs on: the mock, UCX with every transport, or UCX over TCP only. */
export type Kind = 'mock' | 'ucx' | 'tcp';

/** Must be called before the library is loaded: the library reads its environment once. */
export function useTransport(kind: Kind): void {
  process.env['NIXL_LOG_LEVEL'] ??= 'FATAL';
  if (kind === 'tcp') process.env['UCX_TLS'] = 'tcp';
}

let reason: string | undefined | null = null;

/** Why the real library cannot be used here. Undefined if it can. */
export function nixlMissing(): string | undefined {
  if (reason === null) {
    try {
      loadNixl({ mode: 'real' });
      reason = undefined;
    } catch (error) {
      if (!(error instanceof NixlLoadError)) throw error;
      reason = 'the NIXL library is not installed (node scripts/setup.mjs --test installs it)';
    }
  }
  return reason;
}

export function libraryOf(kind: Kind): NixlLibrary {
  return loadNixl({ mode: kind === 'mock' ? 'mock' : 'real' });
}

let count = 0;

/** A name that no other test on the machine uses. */
export const uniqueName = (name: string): string => `${name}-${process.pid}-${++count}`;

/** An agent that is closed after the test. */
export async function agentOf(kind: Kind, name = 'agent', options: NixlAgentOptions = {}): Promise<NixlAgent> {
  const agent = await NixlAgent.create(uniqueName(name), { library: libraryOf(kind), ...options });
  onTestFinished(async () => void (await agent.close()));
  return agent;
}

export interface Pair {
  readonly a: NixlAgent;
  readonly b: NixlAgent;
  /** The memory of a, then the memory of b as both see it. */
  readonly mine: MemoryRegion;
  readonly theirs: MemoryRegion;
  readonly remote: RemoteMemory;
  /** b as a peer of a. */
  readonly peer: NixlPeer;
}

/** Two agents of this process. a is connected to b. */
export async function pairOf(kind: Kind, bytes = 1 << 20, options: NixlAgentOptions = {}): Promise<Pair> {
  const a = await agentOf(kind, 'a', options);
  const b = await agentOf(kind, 'b', options);
  const mine = await a.allocate(bytes);
  const theirs = await b.allocate(bytes);
  const peer = await a.connect(await b.metadata());
  return { a, b, mine, theirs, peer, remote: peer.memory(theirs.descriptor()) };
}

/** Fills bytes with a pattern that depends on the position and the seed. */
export function pattern(target: Uint8Array, seed: number): Uint8Array {
  const words = new Uint32Array(target.buffer, target.byteOffset, target.byteLength >> 2);
  for (let index = 0, word = (seed * 2654435761) >>> 0; index < words.length; index++) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    words[index] = word;
  }
  return target;
}

export const viewOf = (region: MemoryRegion): Uint8Array => region.view as Uint8Array;

export const sameBytes = (left: Uint8Array, right: Uint8Array): boolean => Buffer.compare(left, right) === 0;
