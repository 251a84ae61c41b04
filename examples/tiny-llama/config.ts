import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The parameters of a Llama checkpoint, from its config.json and generation_config.json. */
export interface LlamaConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Inner size of the feed-forward layer. */
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  /** The maximum number of tokens of a prompt and its answer together. */
  readonly maxPositions: number;
  /** Whether the output matrix is the embedding matrix. */
  readonly tiedEmbeddings: boolean;
  /** The tokens that end an answer. */
  readonly eosTokenIds: readonly number[];
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Reads config.json and, if it exists, generation_config.json of a checkpoint folder.
 *
 * @throws TypeError, RangeError as {@link parseConfig}
 */
export async function loadConfig(folder: string): Promise<LlamaConfig> {
  const config = await readJson(join(folder, 'config.json'));
  const generation = await readJson(join(folder, 'generation_config.json')).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  });
  return parseConfig(config, generation);
}

/**
 * Converts the JSON of a Hugging Face Llama configuration to a {@link LlamaConfig}.
 *
 * @param generation generation_config.json. Its end-of-sequence ids override those of `config`.
 * @throws TypeError if a field is missing or requires an unsupported feature (another architecture, activation, rope
 *   scaling, biases)
 * @throws RangeError if the sizes are inconsistent
 */
export function parseConfig(config: Json, generation: Json = {}): LlamaConfig {
  equal(config, 'model_type', 'llama');
  equal(config, 'hidden_act', 'silu');
  equal(config, 'attention_bias', false, false);
  equal(config, 'mlp_bias', false, false);
  const rope = (config['rope_parameters'] ?? config['rope_scaling'] ?? {}) as Json;
  const ropeType = rope['rope_type'] ?? rope['type'] ?? 'default';
  if (ropeType !== 'default') {
    throw new TypeError(`config.json rope_scaling: expected the default rope, got ${JSON.stringify(ropeType)}`);
  }

  const hiddenSize = size(config, 'hidden_size');
  const heads = size(config, 'num_attention_heads');
  const kvHeads = size(config, 'num_key_value_heads', heads);
  const headDim = size(config, 'head_dim', hiddenSize / heads);
  if (heads % kvHeads !== 0) {
    throw new RangeError(`config.json num_key_value_heads: expected a divisor of ${heads} heads, got ${kvHeads}`);
  }
  if (headDim % 2 !== 0) {
    throw new RangeError(`config.json head_dim: expected an even number, got ${headDim}`);
  }
  const vocabSize = size(config, 'vocab_size');
  return {
    vocabSize,
    hiddenSize,
    intermediateSize: size(config, 'intermediate_size'),
    layers: size(config, 'num_hidden_layers'),
    heads,
    kvHeads,
    headDim,
    rmsNormEps: positive(config, 'rms_norm_eps', 1e-6),
    ropeTheta: positive({ ...config, ...rope }, 'rope_theta', 10000),
    maxPositions: size(config, 'max_position_embeddings'),
    tiedEmbeddings: config['tie_word_embeddings'] === true,
    eosTokenIds: tokenIds(generation['eos_token_id'] ?? config['eos_token_id'], vocabSize),
  };
}

async function readJson(path: string): Promise<Json> {
  const value: unknown = JSON.parse(await readFile(path, 'utf8'));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`${path}: expected a JSON object, got ${JSON.stringify(value)}`);
  }
  return value as Json;
}

function equal(config: Json, key: string, wanted: unknown, fallback?: unknown): void {
  const value = config[key] ?? fallback;
  if (value !== wanted) {
    throw new TypeError(`config.json ${key}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(value)}`);
  }
}

function size(config: Json, key: string, fallback?: number): number {
  const value = config[key] ?? fallback;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) {
    throw new TypeError(`config.json ${key}: expected a positive integer, got ${JSON.stringify(value)}`);
  }
  return value;
}

function positive(config: Json, key: string, fallback: number): number {
  const value = config[key] ?? fallback;
  if (typeof value !== 'number' || !(value > 0)) {
    throw new TypeError(`config.json ${key}: expected a positive number, got ${JSON.stringify(value)}`);
  }
  return value;
}

function tokenIds(value: unknown, vocabSize: number): readonly number[] {
  const ids: unknown[] = value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
  for (const id of ids) {
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= vocabSize) {
      throw new RangeError(
        `config.json eos_token_id: expected ids from 0 to ${vocabSize - 1}, got ${JSON.stringify(id)}`,
      );
    }
  }
  return ids as number[];
}
