import { join } from 'node:path';
import { type KvCache, LocalKvCache } from './cache.js';
import { type LlamaConfig, loadConfig } from './config.js';
import { addWeighted, dot, matmul, rmsNorm, softmax } from './math.js';
import { loadSafetensors, type Tensor } from './safetensors.js';

interface Layer {
  readonly inputNorm: Float32Array;
  readonly query: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
  readonly output: Float32Array;
  readonly feedForwardNorm: Float32Array;
  readonly gate: Float32Array;
  readonly up: Float32Array;
  readonly down: Float32Array;
}

/** Cosines and sines of the rotary embedding, [rows][headDim / 2]. */
interface Rotation {
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** A model that computes the next tokens of a sequence. */
export interface Decoder {
  readonly config: LlamaConfig;
  /** Creates an empty cache for one sequence. */
  createCache(): KvCache;
  /** Computes the logits after the last token, and appends keys and values to `cache`. As {@link Llama.forward}. */
  forward(tokenIds: ArrayLike<number>, cache: KvCache): Float32Array | Promise<Float32Array>;
}

/** A Llama decoder in float32: RMSNorm, rotary positions, grouped-query attention, SwiGLU. */
export class Llama implements Decoder {
  readonly config: LlamaConfig;
  readonly #embedding: Float32Array;
  readonly #layers: readonly Layer[];
  readonly #norm: Float32Array;
  readonly #head: Float32Array;

  /**
   * @param tensors by their Hugging Face names (`model.layers.0.self_attn.q_proj.weight`)
   * @throws RangeError if a tensor is missing or its shape does not match `config`
   */
  constructor(config: LlamaConfig, tensors: ReadonlyMap<string, Tensor>) {
    const { hiddenSize, intermediateSize, vocabSize, headDim } = config;
    const querySize = config.heads * headDim;
    const kvSize = config.kvHeads * headDim;
    this.config = config;
    this.#embedding = take(tensors, 'model.embed_tokens.weight', [vocabSize, hiddenSize]);
    this.#layers = Array.from({ length: config.layers }, (_, index) => {
      const weight = (name: string, ...shape: number[]) => take(tensors, `model.layers.${index}.${name}.weight`, shape);
      return {
        inputNorm: weight('input_layernorm', hiddenSize),
        query: weight('self_attn.q_proj', querySize, hiddenSize),
        key: weight('self_attn.k_proj', kvSize, hiddenSize),
        value: weight('self_attn.v_proj', kvSize, hiddenSize),
        output: weight('self_attn.o_proj', hiddenSize, querySize),
        feedForwardNorm: weight('post_attention_layernorm', hiddenSize),
        gate: weight('mlp.gate_proj', intermediateSize, hiddenSize),
        up: weight('mlp.up_proj', intermediateSize, hiddenSize),
        down: weight('mlp.down_proj', hiddenSize, intermediateSize),
      };
    });
    this.#norm = take(tensors, 'model.norm.weight', [hiddenSize]);
    this.#head = config.tiedEmbeddings ? this.#embedding : take(tensors, 'lm_head.weight', [vocabSize, hiddenSize]);
  }

  /**
   * Loads config.json, generation_config.json and model.safetensors of a checkpoint folder.
   *
   * @throws TypeError, RangeError with the name of the file and the expected content
   */
  static async load(folder: string): Promise<Llama> {
    const [config, tensors] = await Promise.all([
      loadConfig(folder),
      loadSafetensors(join(folder, 'model.safetensors')),
    ]);
    return new Llama(config, tensors);
  }

  /** Creates an empty cache for one sequence of this model. `blockSize` is 64 tokens by default. */
  createCache(blockSize?: number): LocalKvCache {
    const { layers, kvHeads, headDim, maxPositions } = this.config;
    return new LocalKvCache({
      layers,
      rowSize: kvHeads * headDim,
      capacity: maxPositions,
      ...(blockSize === undefined ? {} : { blockSize }),
    });
  }

  /**
   * Computes the next tokens of a sequence: many for a prefill, one for a decode step. Appends their keys and values to
   * `cache`.
   *
   * @returns the logits after the last token, vocabSize floats owned by the caller
   * @throws TypeError if `tokenIds` is empty or contains anything but integers
   * @throws RangeError if a token is outside the vocabulary or the sequence exceeds the model's positions
   */
  forward(tokenIds: ArrayLike<number>, cache: KvCache): Float32Array {
    this.check(tokenIds, cache);
    cache.begin?.(tokenIds);
    const steps = this.steps(tokenIds, cache);
    for (;;) {
      const { done, value } = steps.next();
      if (done === true) return value;
    }
  }

  /**
   * The steps of {@link Llama.forward}, after its checks. Each yields what a layer's attention, and then its
   * feed-forward part, adds to the hidden state, [tokens][hiddenSize]. If this model has a part of the heads and of the
   * feed-forward rows, the caller replaces it by the sum over all parts before it continues.
   */
  *steps(tokenIds: ArrayLike<number>, cache: KvCache): Generator<Float32Array, Float32Array, undefined> {
    const { hiddenSize, intermediateSize, heads, kvHeads, headDim, rmsNormEps, vocabSize } = this.config;
    const rows = tokenIds.length;
    const querySize = heads * headDim;
    const kvSize = kvHeads * headDim;
    const hidden = this.#embed(tokenIds);
    const normed = new Float32Array(rows * hiddenSize);
    const query = new Float32Array(rows * querySize);
    const key = new Float32Array(rows * kvSize);
    const value = new Float32Array(rows * kvSize);
    const attended = new Float32Array(rows * querySize);
    const gate = new Float32Array(rows * intermediateSize);
    const up = new Float32Array(rows * intermediateSize);
    const added = new Float32Array(rows * hiddenSize);
    const rotation = this.#rotation(cache.length, rows);

    for (const [index, layer] of this.#layers.entries()) {
      rmsNorm(normed, hidden, layer.inputNorm, rows, rmsNormEps);
      matmul(query, normed, layer.query, rows, hiddenSize, querySize);
      matmul(key, normed, layer.key, rows, hiddenSize, kvSize);
      matmul(value, normed, layer.value, rows, hiddenSize, kvSize);
      rotate(query, rotation, rows, heads, headDim);
      rotate(key, rotation, rows, kvHeads, headDim);
      cache.append(index, key, value);
      this.#attend(attended, query, rows, index, cache);
      matmul(added, attended, layer.output, rows, querySize, hiddenSize);
      yield added;
      addTo(hidden, added);

      rmsNorm(normed, hidden, layer.feedForwardNorm, rows, rmsNormEps);
      matmul(gate, normed, layer.gate, rows, hiddenSize, intermediateSize);
      matmul(up, normed, layer.up, rows, hiddenSize, intermediateSize);
      swiGlu(gate, up);
      matmul(added, gate, layer.down, rows, intermediateSize, hiddenSize);
      yield added;
      addTo(hidden, added);
    }
    cache.advance(rows);

    const last = hidden.subarray((rows - 1) * hiddenSize);
    rmsNorm(normed, last, this.#norm, 1, rmsNormEps);
    const logits = new Float32Array(vocabSize);
    matmul(logits, normed, this.#head, 1, hiddenSize, vocabSize);
    return logits;
  }

  /** Throws what {@link Llama.forward} throws. */
  check(tokenIds: ArrayLike<number>, cache: KvCache): void {
    const { maxPositions } = this.config;
    if (tokenIds.length === 0) throw new TypeError('forward tokenIds: expected at least one token, got none');
    checkTokenIds(tokenIds, this.config.vocabSize, 'forward tokenIds');
    if (cache.length + tokenIds.length > maxPositions) {
      throw new RangeError(
        `forward tokenIds: expected at most ${maxPositions - cache.length} tokens after ${cache.length} cached ones, ` +
          `got ${tokenIds.length}`,
      );
    }
  }

  #embed(tokenIds: ArrayLike<number>): Float32Array {
    const { hiddenSize } = this.config;
    const hidden = new Float32Array(tokenIds.length * hiddenSize);
    for (let row = 0; row < tokenIds.length; row++) {
      const start = tokenIds[row]! * hiddenSize;
      hidden.set(this.#embedding.subarray(start, start + hiddenSize), row * hiddenSize);
    }
    return hidden;
  }

  #rotation(position: number, rows: number): Rotation {
    const { headDim, ropeTheta } = this.config;
    const half = headDim / 2;
    const cos = new Float32Array(rows * half);
    const sin = new Float32Array(rows * half);
    for (let i = 0; i < half; i++) {
      const frequency = Math.fround(1 / ropeTheta ** ((2 * i) / headDim));
      for (let row = 0; row < rows; row++) {
        const angle = Math.fround((position + row) * frequency);
        cos[row * half + i] = Math.cos(angle);
        sin[row * half + i] = Math.sin(angle);
      }
    }
    return { cos, sin };
  }

  #attend(out: Float32Array, query: Float32Array, rows: number, layer: number, cache: KvCache): void {
    const { heads, kvHeads, headDim } = this.config;
    const { blockSize, length } = cache;
    const rowSize = kvHeads * headDim;
    const scale = 1 / Math.sqrt(headDim);
    const blocks = Math.ceil((length + rows) / blockSize);
    const keys = Array.from({ length: blocks }, (_, block) => cache.keys(layer, block));
    const values = Array.from({ length: blocks }, (_, block) => cache.values(layer, block));
    const scores = new Float32Array(length + rows);

    out.fill(0);
    for (let row = 0; row < rows; row++) {
      const visible = length + row + 1;
      for (let head = 0; head < heads; head++) {
        const start = (row * heads + head) * headDim;
        const kvStart = Math.floor((head * kvHeads) / heads) * headDim;
        for (let first = 0; first < visible; first += blockSize) {
          const block = keys[first / blockSize]!;
          const count = Math.min(blockSize, visible - first);
          for (let i = 0; i < count; i++) {
            scores[first + i] = dot(query, start, block, i * rowSize + kvStart, headDim) * scale;
          }
        }
        softmax(scores, visible);
        for (let first = 0; first < visible; first += blockSize) {
          const block = values[first / blockSize]!;
          const count = Math.min(blockSize, visible - first);
          addWeighted(out, start, headDim, scores, first, count, block, kvStart, rowSize);
        }
      }
    }
  }
}

/**
 * @param name the name of the tokens in errors
 * @throws TypeError for anything but integers, RangeError for integers outside 0 to vocabSize - 1
 */
export function checkTokenIds(tokenIds: ArrayLike<number>, vocabSize: number, name: string): void {
  for (let i = 0; i < tokenIds.length; i++) {
    const id = tokenIds[i];
    if (!Number.isSafeInteger(id)) {
      throw new TypeError(`${name}[${i}]: expected an integer, got ${String(id)}`);
    }
    if (id! < 0 || id! >= vocabSize) {
      throw new RangeError(`${name}[${i}]: expected a token id from 0 to ${vocabSize - 1}, got ${id}`);
    }
  }
}

function take(tensors: ReadonlyMap<string, Tensor>, name: string, shape: readonly number[]): Float32Array {
  const tensor = tensors.get(name);
  if (!tensor) {
    throw new RangeError(`model.safetensors: expected tensor ${name} [${shape.join(', ')}], got none`);
  }
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
    throw new RangeError(
      `model.safetensors: expected tensor ${name} [${shape.join(', ')}], got [${tensor.shape.join(', ')}]`,
    );
  }
  return tensor.data;
}

function rotate(rows: Float32Array, { cos, sin }: Rotation, count: number, heads: number, headDim: number): void {
  const half = headDim / 2;
  for (let row = 0; row < count; row++) {
    for (let head = 0; head < heads; head++) {
      const start = (row * heads + head) * headDim;
      for (let i = 0; i < half; i++) {
        const c = cos[row * half + i]!;
        const s = sin[row * half + i]!;
        const low = rows[start + i]!;
        const high = rows[start + half + i]!;
        rows[start + i] = low * c - high * s;
        rows[start + half + i] = high * c + low * s;
      }
    }
  }
}

function addTo(sum: Float32Array, added: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += added[i]!;
}

function swiGlu(gate: Float32Array, up: Float32Array): void {
  for (let i = 0; i < gate.length; i++) {
    const g = gate[i]!;
    gate[i] = (g / (1 + Math.exp(-g))) * up[i]!;
  }
}
