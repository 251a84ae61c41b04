import { checkInteger, wrongType } from '../check.js';
import { ClosedError } from '../errors.js';
import { callback, integer, type OptionTable, optionTable } from '../options.js';
import { tokenWords } from '../words.js';
import type { BatchLease } from './batch.js';
import type { MutableBlocks, RegisteredBlocks } from './blocks.js';
import { BlockStateError } from './errors.js';
import { BlockManager } from './manager.js';
import { SEQUENCE_ROWS, TokenSequence, type TokenSequenceOptions, type Tokens } from './sequence.js';

/** Options of a paged sequence: those of its tokens, and of its pages. */
export interface PagedSequenceOptions extends Omit<TokenSequenceOptions, 'blockSize'> {
  /**
   * The maximum number of tokens from the cache.
   *
   * @default all but the last, so that a model has one token to compute
   */
  readonly maxCachedTokens?: number;
  /**
   * Copies a page's rows when a fork first writes.
   *
   * @default copies the blocks' bytes, which needs a storage of kind memory
   */
  readonly copyPage?: (from: number, to: number) => void;
}

const PAGED_OPTIONS: OptionTable<PagedSequenceOptions> = optionTable<PagedSequenceOptions>({
  ...SEQUENCE_ROWS,
  maxCachedTokens: integer(0),
  copyPage: callback<(from: number, to: number) => void>(),
});

/** The last, unregistered pages. A sequence and its forks share them until one of them writes. */
interface Tail {
  readonly blocks: MutableBlocks;
  owners: number;
}

/** Pages that a transfer fills. Nothing else can use them until `release`. */
export interface PageLease extends Pick<BatchLease, 'release'> {
  /** The index of the first page. */
  readonly first: number;
  /** Their block ids. */
  readonly ids: Uint32Array;
}

/**
 * The tokens of one request and the blocks that contain their rows: its block table for paged attention. Committed full
 * blocks are shared with every request of the same prefix, and stay findable after the request.
 *
 * The rows of a token may be written as soon as the sequence contains it. `commit` declares that they are written.
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
  /** Number of tokens whose rows were in the cache at the start. */
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
   * Takes the cached prefix of the prompt and allocates pages for the rest.
   *
   * @returns null if there are too few blocks; then it keeps none
   */
  static create(manager: BlockManager, tokens: Tokens, options: PagedSequenceOptions = {}): PagedSequence | null {
    if (!(manager instanceof BlockManager)) wrongType('PagedSequence.create manager', 'a BlockManager', manager);
    PAGED_OPTIONS.check('PagedSequence.create options', options);
    const { maxCachedTokens, copyPage, ...rest } = options;
    const { blockSize } = manager;
    const sequence = new TokenSequence(tokens, { ...rest, blockSize });
    const cacheable = Math.min(maxCachedTokens ?? Math.max(0, sequence.length - 1), sequence.length);
    const registered = manager.matchPrefix(sequence, 0, Math.floor(cacheable / blockSize));
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

  /** Number of tokens, with or without written rows. */
  get length(): number {
    return this.tokens.length;
  }

  /** Number of tokens whose rows are written: cached and committed ones. */
  get computedTokens(): number {
    return this.#computed;
  }

  /** Number of pages, the length of `blockTable()`. */
  get pageCount(): number {
    return (this.#registered?.length ?? 0) + (this.#tail?.blocks.length ?? 0);
  }

  /** Number of registered pages: full, committed and shared. They are never written again. */
  get committedPages(): number {
    return this.#registered?.length ?? 0;
  }

  /**
   * Appends tokens, and allocates pages for them. If a fork shares the last pages, they are copied first.
   *
   * @returns false if there are too few blocks; then nothing is appended
   */
  append(tokens: number | Tokens): boolean {
    const operation = 'paged.append';
    this.#assertOpen(operation);
    const added =
      typeof tokens === 'number' ? tokenWords(operation, [tokens]) : tokenWords(`${operation} tokens`, tokens);
    if (added.length === 0) return true;
    if (!this.reserve(added.length)) return false;
    if (added.length === 1) this.tokens.append(added[0] as number);
    else this.tokens.extend(added);
    return true;
  }

  /**
   * Allocates pages for `tokens` more tokens, so that appending them cannot fail.
   *
   * @returns false if there are too few blocks
   */
  reserve(tokens: number): boolean {
    checkInteger('paged.reserve tokens', tokens, 0);
    this.#assertOpen('paged.reserve');
    const need = Math.ceil((this.length + tokens) / this.manager.blockSize) - this.pageCount;
    const shared = this.#tail !== undefined && this.#tail.owners > 1 ? this.#tail : undefined;
    const pages = Math.max(0, need) + (shared?.blocks.length ?? 0);
    if (pages === 0) return true;
    const blocks = this.manager.allocate(pages);
    if (blocks === null) return false;
    if (shared !== undefined) this.#unshare(shared, blocks);
    else if (this.#tail === undefined) this.#tail = { blocks, owners: 1 };
    else this.#tail.blocks.join(blocks);
    this.#table = undefined;
    return true;
  }

  /** Copies the written rows of shared pages to this sequence's own pages. */
  #unshare(shared: Tail, blocks: MutableBlocks): void {
    const written = Math.ceil(this.#computed / this.manager.blockSize) - this.committedPages;
    try {
      for (let index = 0; index < written; index++) {
        if (this.#copyPage === undefined) blocks.bytes(index).set(shared.blocks.bytes(index));
        else this.#copyPage(shared.blocks.ids[index] as number, blocks.ids[index] as number);
      }
    } catch (error) {
      blocks.dispose();
      throw error;
    }
    shared.owners -= 1;
    this.#tail = { blocks, owners: 1 };
  }

  /**
   * Declares that the rows of the first `length` tokens are written, and registers the blocks that this fills. The
   * block table may change: with `duplicates: 'reject'` a registered block of the same name replaces the new one.
   */
  commit(length = this.length): void {
    const operation = 'paged.commit';
    this.#assertOpen(operation);
    checkInteger(`${operation} length`, length, this.#computed, this.length);
    const first = this.committedPages;
    const count = Math.floor(length / this.manager.blockSize) - first;
    if (count > 0) {
      // Not shared: a fork starts without uncommitted tokens, so `append` added these tokens and unshared the tail.
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

  /** The pages' block ids, in the order of the tokens. A snapshot: `append` and `commit` make new tables. */
  blockTable(): Uint32Array {
    this.#assertOpen('paged.blockTable');
    if (this.#table === undefined) {
      const table = new Uint32Array(this.pageCount);
      if (this.#registered !== undefined) table.set(this.#registered.ids);
      if (this.#tail !== undefined) table.set(this.#tail.blocks.ids, this.committedPages);
      this.#table = table;
    }
    return this.#table;
  }

  /** `blockTable()` as signed integers, as attention kernels need them. Shares its memory. */
  blockTableInt32(): Int32Array {
    const table = this.blockTable();
    return new Int32Array(table.buffer, table.byteOffset, table.length);
  }

  /**
   * A page's bytes, zero-copy. The view is detached when the page is committed or released. Only read the bytes of a
   * committed page. Needs a manager with memory.
   */
  page(index: number): Uint8Array {
    this.#assertOpen('paged.page');
    checkInteger('paged.page index', index, 0, this.pageCount - 1);
    const committed = this.committedPages;
    if (index < committed) return (this.#registered as RegisteredBlocks).view(index);
    return (this.#tail as Tail).blocks.bytes(index - committed);
  }

  /**
   * @internal Takes the pages that are not committed for a transfer into them, and detaches their views. A `dispose`
   * during the lease takes effect at its end.
   */
  lease(operation: string): PageLease {
    this.#assertOpen(operation);
    const tail = this.#tail;
    if (tail === undefined || tail.owners > 1)
      throw new BlockStateError(`${operation}: expected pages that only this sequence has, got none`, operation);
    const { ids } = tail.blocks;
    return { first: this.committedPages, ids, release: tail.blocks.lease(operation).release };
  }

  /**
   * A second sequence with the same tokens and pages. The last, partial page is copied when one of the two appends.
   *
   * @throws BlockStateError if tokens are not committed yet
   */
  fork(): PagedSequence {
    const operation = 'paged.fork';
    this.#assertOpen(operation);
    if (this.#computed !== this.length) {
      throw new BlockStateError(
        `${operation}: expected all ${this.length} tokens to be committed, got ${this.#computed}`,
        operation,
      );
    }
    const { cachedTokens } = this;
    const registered = this.#registered?.clone();
    let tokens: TokenSequence;
    try {
      tokens = this.tokens.clone();
    } catch (error) {
      registered?.dispose();
      throw error;
    }
    if (this.#tail !== undefined) this.#tail.owners += 1;
    const state = { tokens, registered, tail: this.#tail, computed: this.#computed, cachedTokens };
    return new PagedSequence(this.manager, state, this.#copyPage);
  }

  #assertOpen(operation: string): void {
    if (this.#disposed) throw new ClosedError('the paged sequence', operation);
  }

  /** Releases the pages. Committed ones stay findable. Idempotent. */
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
