import { checkFunction, checkInteger, checkOptions, wrongType } from '../check.js';
import { ClosedError } from '../errors.js';
import type { MutableBlocks, RegisteredBlocks } from './blocks.js';
import { BlockStateError } from './errors.js';
import { BlockManager } from './manager.js';
import { TokenSequence, type TokenSequenceOptions, type Tokens, tokenWords } from './sequence.js';

/** A paged sequence's options: those of its tokens, and of its pages. */
export interface PagedSequenceOptions extends Omit<TokenSequenceOptions, 'blockSize'> {
  /** Most tokens that are taken from the cache. @default all but the last, so that a model has one to compute */
  readonly mostCachedTokens?: number;
  /** Copies a page's rows when a fork first writes. @default copies the blocks' bytes, which needs a storage of kind memory */
  readonly copyPage?: (from: number, to: number) => void;
}

/** The last, unregistered pages, which a sequence and its forks share until one of them writes. */
interface Tail {
  readonly blocks: MutableBlocks;
  owners: number;
}

/**
 * One request's tokens and the blocks that hold their rows: its block table for paged attention. Full blocks that were
 * committed are shared with every request of the same prefix, and found again after it.
 *
 * The rows of a token may be written once it is in the sequence; `commit` tells that they are.
 *
 * @example
 * using paged = PagedSequence.create(manager, promptTokens);
 * if (paged === null) return 'wait: no blocks are free';
 * model.prefill(paged.tokens.tokens(paged.cachedTokens), paged.blockTable());
 * paged.commit(paged.length);
 * while (paged.append(model.sample())) model.decode(paged.blockTable());
 */
export class PagedSequence implements Disposable {
  readonly tokens: TokenSequence;
  /** Tokens whose rows were in the cache at the start. */
  readonly cachedTokens: number;
  #registered: RegisteredBlocks | undefined;
  #tail: Tail | undefined;
  #computed: number;
  #table: Uint32Array | undefined;
  #disposed = false;
  readonly #copyPage: ((from: number, to: number) => void) | undefined;

  private constructor(
    readonly manager: BlockManager,
    state: {
      tokens: TokenSequence;
      registered: RegisteredBlocks | undefined;
      tail: Tail | undefined;
      computed: number;
      cachedTokens: number;
    },
    copyPage: ((from: number, to: number) => void) | undefined,
  ) {
    this.tokens = state.tokens;
    this.#registered = state.registered;
    this.#tail = state.tail;
    this.#computed = state.computed;
    this.cachedTokens = state.cachedTokens;
    this.#copyPage = copyPage;
  }

  /**
   * Takes what it can of the prompt from the cache and allocates pages for the rest.
   *
   * @returns null where there are not as many blocks; nothing is held then
   */
  static create(manager: BlockManager, tokens: Tokens, options: PagedSequenceOptions = {}): PagedSequence | null {
    const path = 'PagedSequence.create options';
    if (!(manager instanceof BlockManager)) wrongType('PagedSequence.create manager', 'a BlockManager', manager);
    checkOptions(path, options, ['salt', 'loraName', 'multimodal', 'mostCachedTokens', 'copyPage']);
    const { mostCachedTokens, copyPage, ...rest } = options;
    if (mostCachedTokens !== undefined) checkInteger(`${path}.mostCachedTokens`, mostCachedTokens, 0);
    if (copyPage !== undefined) checkFunction(`${path}.copyPage`, copyPage);
    const { blockSize } = manager;
    const sequence = new TokenSequence(tokens, { ...rest, blockSize });
    const most = Math.min(mostCachedTokens ?? Math.max(0, sequence.length - 1), sequence.length);
    const registered = manager.matchPrefix(sequence, 0, Math.floor(most / blockSize));
    const cached = registered?.length ?? 0;
    const pages = Math.ceil(sequence.length / blockSize) - cached;
    const blocks = pages === 0 ? undefined : manager.allocate(pages);
    if (blocks === null) {
      registered?.dispose();
      sequence.dispose();
      return null;
    }
    const cachedTokens = cached * blockSize;
    const tail = blocks === undefined ? undefined : { blocks, owners: 1 };
    return new PagedSequence(
      manager,
      { tokens: sequence, registered, tail, computed: cachedTokens, cachedTokens },
      copyPage,
    );
  }

  /** Tokens, whether their rows are written or not. */
  get length(): number {
    return this.tokens.length;
  }

  /** Tokens whose rows are written: those from the cache and those committed. */
  get computedTokens(): number {
    return this.#computed;
  }

  /** Pages, as many as `blockTable()` has. */
  get pageCount(): number {
    return (this.#registered?.length ?? 0) + (this.#tail?.blocks.length ?? 0);
  }

  /** Pages that are registered: full, committed, and shared. Never written again. */
  get committedPages(): number {
    return this.#registered?.length ?? 0;
  }

  /**
   * Adds tokens, and pages for them; before that it makes the last page this sequence's own, where a fork shares it.
   *
   * @returns false where there are not as many blocks; nothing is added then
   */
  append(tokens: number | Tokens): boolean {
    const operation = 'paged.append';
    this.#open(operation);
    const added =
      typeof tokens === 'number' ? tokenWords(operation, [tokens]) : tokenWords(`${operation} tokens`, tokens);
    if (added.length === 0) return true;
    if (!this.reserve(added.length)) return false;
    if (added.length === 1) this.tokens.append(added[0] as number);
    else this.tokens.extend(added);
    return true;
  }

  /**
   * Makes room for so many tokens more, so that appending them cannot fail.
   *
   * @returns false where there are not as many blocks
   */
  reserve(tokens: number): boolean {
    checkInteger('paged.reserve tokens', tokens, 0);
    this.#open('paged.reserve');
    const need = Math.ceil((this.length + tokens) / this.manager.blockSize) - this.pageCount;
    const shared = this.#tail !== undefined && this.#tail.owners > 1 ? this.#tail : undefined;
    const pages = Math.max(0, need) + (shared?.blocks.length ?? 0);
    if (pages === 0) return true;
    const blocks = this.manager.allocate(pages);
    if (blocks === null) return false;
    if (shared !== undefined) this.#part(shared, blocks);
    else if (this.#tail === undefined) this.#tail = { blocks, owners: 1 };
    else this.#tail.blocks.join(blocks);
    this.#table = undefined;
    return true;
  }

  /** Copies what the shared pages hold to pages of this sequence's own. */
  #part(shared: Tail, blocks: MutableBlocks): void {
    const written = Math.ceil(this.#computed / this.manager.blockSize) - this.committedPages;
    for (let index = 0; index < written; index++) {
      if (this.#copyPage === undefined) blocks.bytes(index).set(shared.blocks.bytes(index));
      else this.#copyPage(shared.blocks.ids[index] as number, blocks.ids[index] as number);
    }
    shared.owners -= 1;
    this.#tail = { blocks, owners: 1 };
  }

  /**
   * Tells that the rows of the first `length` tokens are written, and registers the blocks that this fills. The block table
   * may change: with `duplicates: 'reject'` a block that is there already takes the place of its twin.
   */
  commit(length = this.length): void {
    const operation = 'paged.commit';
    this.#open(operation);
    checkInteger(`${operation} length`, length, this.#computed, this.length);
    const first = this.committedPages;
    const count = Math.floor(length / this.manager.blockSize) - first;
    if (count > 0) {
      // The sequence's own: these tokens came by `append`, since a fork begins with nothing uncommitted.
      const tail = this.#tail as Tail;
      const committed = tail.blocks.commit(this.tokens, first, count);
      if (tail.blocks.length === 0) {
        tail.blocks.dispose();
        this.#tail = undefined;
      }
      if (this.#registered === undefined) this.#registered = committed;
      else this.#registered.join(committed);
      this.#table = undefined;
    }
    this.#computed = length;
  }

  /** The pages' block ids, in order of the tokens. A snapshot: `append` and `commit` make new ones. */
  blockTable(): Uint32Array {
    this.#open('paged.blockTable');
    if (this.#table === undefined) {
      const table = new Uint32Array(this.pageCount);
      if (this.#registered !== undefined) table.set(this.#registered.ids);
      if (this.#tail !== undefined) table.set(this.#tail.blocks.ids, this.committedPages);
      this.#table = table;
    }
    return this.#table;
  }

  /** `blockTable()` as the signed integers that attention kernels take; the same memory. */
  blockTableInt32(): Int32Array {
    const table = this.blockTable();
    return new Int32Array(table.buffer, table.byteOffset, table.length);
  }

  /**
   * A page's bytes, zero-copy; detached when the page is committed or goes back. Those of a committed page are to be read
   * only. Needs a manager with memory.
   */
  page(index: number): Uint8Array {
    this.#open('paged.page');
    checkInteger('paged.page index', index, 0, this.pageCount - 1);
    const committed = this.committedPages;
    if (index < committed) return (this.#registered as RegisteredBlocks).view(index);
    return (this.#tail as Tail).blocks.bytes(index - committed);
  }

  /**
   * A sequence of its own with the same tokens and pages. The last, partial page is copied when one of the two appends.
   *
   * @throws BlockStateError where tokens are not committed yet
   */
  fork(): PagedSequence {
    const operation = 'paged.fork';
    this.#open(operation);
    if (this.#computed !== this.length) {
      throw new BlockStateError(
        `${operation}: expected all ${this.length} tokens to be committed, got ${this.#computed}`,
        operation,
      );
    }
    const { cachedTokens } = this;
    if (this.#tail !== undefined) this.#tail.owners += 1;
    const state = {
      tokens: this.tokens.clone(),
      registered: this.#registered?.clone(),
      tail: this.#tail,
      computed: this.#computed,
      cachedTokens,
    };
    return new PagedSequence(this.manager, state, this.#copyPage);
  }

  #open(operation: string): void {
    if (this.#disposed) throw new ClosedError('the paged sequence', operation);
  }

  /** Gives the pages back; those committed stay to be found. Idempotent. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#registered?.dispose();
    this.#registered = undefined;
    const tail = this.#tail;
    this.#tail = undefined;
    if (tail !== undefined) {
      tail.owners -= 1;
      if (tail.owners === 0) tail.blocks.dispose();
    }
    this.tokens.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
