import { createHash } from 'node:crypto';
import { blockName, MAX_POSITION } from './block-names.js';
import type { VllmKvEvent } from './kv-events.js';

/** What besides its tokens identifies a prompt. */
export interface PromptIdentity {
  /** The text of `cache_salt`. */
  readonly salt?: string;
  /** The adapter. */
  readonly loraName?: string;
}

/** One block of a known sequence. */
export interface KnownBlock {
  /** The name in a block manager. */
  readonly name: bigint;
  readonly tokens: Uint32Array;
  /** Whether vLLM's own hash is known, or only one that this package made. */
  readonly isVllms: boolean;
}

interface Node extends KnownBlock {
  readonly hash: bigint;
  readonly parent: Node | undefined;
  readonly position: number;
  readonly key: string;
  readonly children: Map<string, Node>;
  /** vLLM's hash, if it arrived after the block had got another one. */
  alias?: bigint;
  isVllms: boolean;
}

/** Children that are searched for one that begins with the end of a prompt. */
const MAX_SEARCHED = 1024;

/**
 * The blocks of the sequences that workers have computed or a store contains, as a tree. vLLM's KV events bring the
 * hashes; a block without an event has a hash of this package, until its event arrives.
 */
export class BlockIndex {
  readonly #roots = new Map<string, Node>();
  readonly #byHash = new Map<bigint, Node>();
  #size = 0;

  constructor(readonly blockSize: number) {}

  #named = 0;

  /** Number of known blocks with vLLM's hash. */
  get named(): number {
    return this.#named;
  }

  /** Number of known blocks. */
  get size(): number {
    return this.#size;
  }

  /**
   * Adds the blocks of an event. Returns false if its parent is not known, so that its blocks have no place. Blocks
   * that a worker removes stay known: a store may still contain them.
   */
  apply(event: VllmKvEvent): boolean {
    if (event.kind !== 'stored') return true;
    const { blockHashes, parentHash, tokens, blockSize, extraKeys } = event;
    if (blockSize !== this.blockSize) return false;
    let parent = parentHash === undefined ? undefined : this.#byHash.get(parentHash);
    if (parentHash !== undefined && parent === undefined) return false;
    for (const [index, hash] of blockHashes.entries()) {
      const own = Uint32Array.from(tokens.slice(index * blockSize, (index + 1) * blockSize));
      parent = this.#add(parent, own, JSON.stringify(extraKeys[index] ?? null), hash);
      if (parent === undefined) return false;
    }
    return true;
  }

  /** The longest run of known full blocks of a prompt. */
  find(tokens: Uint32Array, identity: PromptIdentity = {}): KnownBlock[] {
    const found: Node[] = [];
    const { blockSize } = this;
    for (let start = 0; start + blockSize <= tokens.length; start += blockSize) {
      const children = this.#childrenOf(found.at(-1));
      const node = children.get(keyOf(tokens.subarray(start, start + blockSize), extraOf(found.length, identity)));
      if (node === undefined) break;
      found.push(node);
    }
    return found;
  }

  /**
   * Known blocks that begin with the last tokens of a prompt, those after its full blocks. `full` is the result of
   * `find`, and has every full block.
   */
  findTail(tokens: Uint32Array, full: readonly KnownBlock[], identity: PromptIdentity = {}): KnownBlock[] {
    const rest = tokens.subarray(full.length * this.blockSize);
    const extra = extraOf(full.length, identity);
    const found: KnownBlock[] = [];
    let searched = 0;
    for (const [key, node] of this.#childrenOf(full.at(-1) as Node | undefined)) {
      if (++searched > MAX_SEARCHED) break;
      if (key.startsWith(`${extra} `) && startsWith(node.tokens, rest)) found.push(node);
    }
    return found;
  }

  /** Every block of a prompt, the last of which may be partly filled. Unknown ones get a hash of this package. */
  define(tokens: Uint32Array, identity: PromptIdentity = {}): KnownBlock[] {
    const { blockSize } = this;
    const nodes: Node[] = [];
    for (let start = 0; start < tokens.length; start += blockSize) {
      const node = this.#add(
        nodes.at(-1),
        tokens.slice(start, start + blockSize),
        extraOf(nodes.length, identity),
        undefined,
      );
      if (node === undefined) break;
      nodes.push(node);
    }
    return nodes;
  }

  /** Forgets every block for which `isStored` is false and that has no child, until at most `max` are known. */
  prune(max: number, isStored: (blocks: readonly KnownBlock[]) => ArrayLike<number>): void {
    while (this.#size > max) {
      const leaves = [...this.#nodes()].filter(({ children }) => children.size === 0);
      const stored = isStored(leaves);
      const unused = leaves.filter((_, index) => stored[index] === 0);
      if (unused.length === 0) return;
      for (const node of unused) this.#remove(node);
    }
  }

  *#nodes(): Iterable<Node> {
    const open = [...this.#roots.values()];
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      yield node;
      open.push(...node.children.values());
    }
  }

  #remove(node: Node): void {
    (node.parent?.children ?? this.#roots).delete(node.key);
    for (const hash of [node.hash, node.alias])
      if (hash !== undefined && this.#byHash.get(hash) === node) this.#byHash.delete(hash);
    this.#size -= 1;
    if (node.isVllms) this.#named -= 1;
  }

  #childrenOf(node: Node | undefined): Map<string, Node> {
    return node?.children ?? this.#roots;
  }

  /** The block after `parent`. `hash` is vLLM's, if it is known. */
  #add(parent: Node | undefined, tokens: Uint32Array, extra: string, hash: bigint | undefined): Node | undefined {
    const siblings = this.#childrenOf(parent);
    const key = keyOf(tokens, extra);
    const known = siblings.get(key);
    if (known !== undefined) {
      if (hash !== undefined && !known.isVllms) {
        // Its blocks keep their name; the events of its children have vLLM's hash.
        known.isVllms = true;
        this.#named += 1;
        known.alias = hash;
        this.#byHash.set(hash, known);
      }
      return known;
    }
    const position = (parent?.position ?? -1) + 1;
    if (position > MAX_POSITION) return undefined;
    const own = hash ?? ownHash(parent?.hash, key);
    const name = blockName(own, parent?.hash, position);
    const node = {
      hash: own,
      name,
      tokens,
      parent,
      position,
      key,
      children: new Map<string, Node>(),
      isVllms: hash !== undefined,
    };
    siblings.set(key, node);
    this.#byHash.set(own, node);
    this.#size += 1;
    if (node.isVllms) this.#named += 1;
    return node;
  }
}

/** The extra keys that vLLM gives a block: the adapter in each, the salt in the first. */
function extraOf(position: number, { salt, loraName }: PromptIdentity): string {
  const keys = [...(loraName === undefined ? [] : [loraName]), ...(salt === undefined || position > 0 ? [] : [salt])];
  return keys.length === 0 ? 'null' : JSON.stringify(keys);
}

function keyOf(tokens: Uint32Array, extra: string): string {
  const bytes = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
  return `${extra} ${createHash('sha256').update(bytes).digest('base64')}`;
}

function ownHash(parent: bigint | undefined, key: string): bigint {
  return createHash('sha256')
    .update(`${parent ?? ''} ${key}`)
    .digest()
    .readBigUInt64LE();
}

function startsWith(tokens: Uint32Array, start: Uint32Array): boolean {
  return start.length <= tokens.length && start.every((token, index) => token === tokens[index]);
}
