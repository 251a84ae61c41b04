import type { LlamaConfig } from './config.js';
import type { Tensor } from './safetensors.js';

/** The part of a model that one rank of a tensor-parallel group has. */
export interface Shard {
  readonly rank: number;
  /** The number of ranks. */
  readonly size: number;
}

/** Weights whose rows belong to heads or to rows of the feed-forward layer: `[rows][inputs]`. */
const BY_ROWS = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'mlp.gate_proj', 'mlp.up_proj'];
/** Weights whose columns do. The products of all ranks add up. */
const BY_COLUMNS = ['self_attn.o_proj', 'mlp.down_proj'];

/**
 * The configuration of one rank: its share of the heads, of the KV heads and of the feed-forward rows.
 *
 * @throws RangeError if one of them is not divisible
 */
export function shardConfig(config: LlamaConfig, size: number): LlamaConfig {
  const share = (name: 'heads' | 'kvHeads' | 'intermediateSize'): number => {
    if (config[name] % size === 0) return config[name] / size;
    throw new RangeError(`tensorParallelSize: expected a divisor of the model's ${config[name]} ${name}, got ${size}`);
  };
  return {
    ...config,
    heads: share('heads'),
    kvHeads: share('kvHeads'),
    intermediateSize: share('intermediateSize'),
  };
}

/** The weights of one rank. Embeddings and norms are whole in every rank. */
export function shardTensors(tensors: ReadonlyMap<string, Tensor>, shard: Shard): Map<string, Tensor> {
  const ends = (name: string, parts: readonly string[]): boolean =>
    parts.some((part) => name.endsWith(`${part}.weight`));
  return new Map(
    [...tensors].map(([name, tensor]) => {
      if (ends(name, BY_ROWS)) return [name, rowsOf(tensor, shard)];
      return [name, ends(name, BY_COLUMNS) ? columnsOf(tensor, shard) : tensor];
    }),
  );
}

function rowsOf({ shape, data }: Tensor, { rank, size }: Shard): Tensor {
  const [rows, columns] = shape as [number, number];
  const count = rows / size;
  return { shape: [count, columns], data: data.subarray(rank * count * columns, (rank + 1) * count * columns) };
}

function columnsOf({ shape, data }: Tensor, { rank, size }: Shard): Tensor {
  const [rows, columns] = shape as [number, number];
  const count = columns / size;
  const part = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    const start = row * columns + rank * count;
    part.set(data.subarray(start, start + count), row * count);
  }
  return { shape: [rows, count], data: part };
}
