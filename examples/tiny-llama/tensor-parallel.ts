import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { DynamoError } from 'dynamo-node';
import { type HeadLayout, splitHeads } from 'dynamo-node/disagg';
import type { KvCache } from './cache.js';
import { type LlamaConfig, loadConfig } from './config.js';
import { type Decoder, Llama } from './model.js';
import { PagedKvCache } from './paged-cache.js';
import type { RankArguments } from './rank.js';
import { RankCache, RankMemory } from './rank-cache.js';
import { RankLink, RankMessage } from './rank-link.js';
import { loadSafetensors } from './safetensors.js';
import { shardConfig, shardTensors } from './shard.js';

const PROGRAM = new URL('rank.ts', import.meta.url);
const EXIT_MS = 5000;
const PASS_TIMEOUT_MS = 30_000;

/** A rank in its own process. */
interface Rank {
  readonly link: RankLink;
  readonly process: ChildProcess;
}

/**
 * A tiny Llama whose heads and feed-forward rows are split over processes. This process is rank 0. After the attention
 * and after the feed-forward part of each layer, the ranks send what they computed and get the sum of all.
 *
 * The pool of the engine keeps the keys and values of all heads, in the layout of a model without tensor parallelism.
 * So another worker can have another number of ranks. Each rank has a copy of the keys and values of its heads.
 */
export class ParallelLlama implements Decoder, AsyncDisposable {
  readonly config: LlamaConfig;
  /** Resolves with the error of later calls if a rank has ended by itself. */
  readonly failed: Promise<DynamoError>;
  readonly #shard: Llama;
  readonly #memory: RankMemory;
  readonly #ranks: readonly Rank[];
  readonly #layout: HeadLayout;
  /** The blocks of each sequence at its last pass. */
  readonly #tables = new WeakMap<KvCache, Uint32Array>();
  #turn: Promise<unknown> = Promise.resolve();
  #failure: DynamoError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(
    config: LlamaConfig,
    shard: Llama,
    blockSize: number,
    ranks: readonly Rank[],
    private readonly passTimeoutMs: number,
  ) {
    this.config = config;
    this.#shard = shard;
    this.#memory = new RankMemory(shard.config, blockSize);
    this.#ranks = ranks;
    const { layers, kvHeads: heads, headDim } = config;
    this.#layout = { layers, heads, headDim, elementType: 'float32', blockSize };
    this.failed = new Promise((resolve) => {
      for (const [index, rank] of ranks.entries())
        void Promise.race([rank.link.closed, exitOf(rank)]).then(() => {
          if (this.#closing === undefined) resolve(this.#fail(`rank ${index + 1} of ${ranks.length + 1} has ended`));
        });
    });
  }

  /**
   * Loads a checkpoint folder into `size` ranks, which start as processes of this program.
   *
   * @param blockSize tokens in a block of the engine's pool
   * @param passTimeoutMs how long the ranks may take for one call of `forward`
   * @throws RangeError if the model cannot be split; DynamoError if a rank does not start
   */
  static async load(
    folder: string,
    size: number,
    blockSize: number,
    passTimeoutMs = PASS_TIMEOUT_MS,
  ): Promise<ParallelLlama> {
    const [config, tensors] = await Promise.all([
      loadConfig(folder),
      loadSafetensors(join(folder, 'model.safetensors')),
    ]);
    const shard = new Llama(shardConfig(config, size), shardTensors(tensors, { rank: 0, size }));
    const ranks = Array.from({ length: size - 1 }, (_, index) =>
      startRank({ folder, blockSize, rank: index + 1, size }),
    );
    const model = new ParallelLlama(config, shard, blockSize, ranks, passTimeoutMs);
    try {
      await Promise.all(ranks.map(({ link }) => link.receive()));
    } catch (cause) {
      await model.close();
      throw new DynamoError('Unavailable', 'a rank of the model ended before it was ready', { cause });
    }
    return model;
  }

  /** The process ids of the ranks after the first, in order. */
  get processIds(): number[] {
    return this.#ranks.map(({ process }) => process.pid as number);
  }

  createCache(): never {
    throw new TypeError('generate options.cache: expected a cache of the pool, which all ranks use, got none');
  }

  /**
   * Computes the next tokens of a sequence with all ranks. Concurrent calls run one after the other.
   *
   * @throws DynamoError `DYN_UNAVAILABLE` if a rank has ended or does not answer in time. All later calls throw it too.
   */
  forward(tokenIds: ArrayLike<number>, cache: KvCache): Promise<Float32Array> {
    if (!(cache instanceof PagedKvCache))
      return Promise.reject(new TypeError('forward cache: expected a PagedKvCache'));
    const result = this.#turn.then(() => this.#forward(tokenIds, cache));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #forward(tokenIds: ArrayLike<number>, cache: PagedKvCache): Promise<Float32Array> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#shard.check(tokenIds, cache);
    cache.begin(tokenIds);
    const position = cache.length;
    const table = cache.blockIds;
    this.#loadBlocks(cache, table, position);
    this.#send(RankMessage.forward, Uint32Array.of(position, tokenIds.length, ...Array.from(tokenIds), ...table));
    const local = new RankCache(this.#memory, table, position);
    const steps = this.#shard.steps(tokenIds, local);
    const late = `a rank has not answered within ${this.passTimeoutMs} ms`;
    const timer = setTimeout(() => this.#fail(late), this.passTimeoutMs);
    try {
      for (;;) {
        const { done, value } = steps.next();
        if (done !== true) {
          await this.#sum(value);
          continue;
        }
        await this.#store(cache, local.rows, tokenIds.length);
        this.#tables.set(cache, table);
        return value;
      }
    } catch (cause) {
      // The ranks may be at different steps now.
      throw this.#fail('a pass has failed', cause);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Adds what the other ranks computed, in the order of the ranks, and sends them the sum. */
  async #sum(added: Float32Array): Promise<void> {
    for (const { link } of this.#ranks) {
      const part = await link.receiveFloats(RankMessage.sum);
      for (let i = 0; i < added.length; i++) added[i]! += part[i]!;
    }
    this.#send(RankMessage.sum, added);
  }

  /** Stores the rows of all ranks in the pool: [tokens][kvHeads][headDim]. */
  async #store(cache: PagedKvCache, own: readonly Float32Array[], tokens: number): Promise<void> {
    const parts = [own];
    for (const { link } of this.#ranks) {
      const rows: Float32Array[] = [];
      while (rows.length < own.length) rows.push(await link.receiveFloats(RankMessage.rows));
      parts.push(rows);
    }
    const join = (index: number): Float32Array => {
      const { rowSize } = this.#memory;
      const whole = new Float32Array(tokens * rowSize * parts.length);
      for (const [rank, rows] of parts.entries())
        for (let token = 0; token < tokens; token++) {
          const row = (rows[index] as Float32Array).subarray(token * rowSize, (token + 1) * rowSize);
          whole.set(row, (token * parts.length + rank) * rowSize);
        }
      return whole;
    };
    for (let layer = 0; layer < this.config.layers; layer++) cache.append(layer, join(2 * layer), join(2 * layer + 1));
    cache.advance(tokens);
  }

  /** Gives the ranks their heads of the blocks that something else has filled: a cached prefix, or another worker. */
  #loadBlocks(cache: PagedKvCache, table: Uint32Array, position: number): void {
    const known = this.#tables.get(cache);
    for (let page = 0; page * this.#layout.blockSize < position; page++) {
      const id = table[page] as number;
      if (known?.[page] === id) continue;
      const [own, ...others] = splitHeads(cache.sequence.page(page), this.#layout, this.#ranks.length + 1);
      this.#memory.block(id).set(floatsOf(own as Uint8Array));
      for (const [index, heads] of others.entries()) {
        const message = new Uint8Array(4 + heads.byteLength);
        new DataView(message.buffer).setUint32(0, id, true);
        message.set(heads, 4);
        this.#ranks[index]?.link.send(RankMessage.load, message);
      }
    }
  }

  #send(kind: number, payload: ArrayBufferView): void {
    for (const { link } of this.#ranks) link.send(kind, payload);
  }

  #fail(what: string, cause?: unknown): DynamoError {
    const reason = 'backend.engine_shutdown';
    this.#failure ??= new DynamoError('Unavailable', `${what}; start the engine again`, { reason, cause });
    for (const { link } of this.#ranks) link.fail(this.#failure);
    void this.close();
    return this.#failure;
  }

  /** Ends all ranks, and waits until their processes have ended. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = new DynamoError('Unavailable', 'the model is closed', { reason: 'backend.engine_shutdown' });
    this.#failure ??= closed;
    await Promise.all(
      this.#ranks.map(async (rank) => {
        rank.link.fail(this.#failure as DynamoError);
        rank.link.close();
        const timer = setTimeout(() => rank.process.kill('SIGKILL'), EXIT_MS);
        await exitOf(rank);
        clearTimeout(timer);
      }),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function startRank(args: RankArguments): Rank {
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const child = spawn(process.execPath, ['--import', loader, fileURLToPath(PROGRAM), JSON.stringify(args)], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  // An error of the start also ends the stream.
  child.on('error', () => {});
  return { link: new RankLink(child.stdio[3] as Duplex), process: child };
}

async function exitOf({ process: child }: Rank): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  await once(child, 'exit');
}

function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
