import { createHash } from 'node:crypto';
import { checkOneOf } from '../check.js';
import { boolean, integer, type OptionTable, oneOf, optionTable, text } from '../options.js';

/** Versions of vLLM whose hash this package computes, each with its version of the connector. */
const CONNECTOR_VERSIONS: Readonly<Record<string, number>> = { '0.31.0': 13, '0.32.0': 14 };

/** What a worker's KV cache depends on. */
export interface VllmCompatibility {
  /** The version of vLLM: one of {@link VLLM_VERSIONS}. */
  readonly vllmVersion: string;
  /** The text after `--model`: a path or a name. */
  readonly model: string;
  /** PyTorch's name, such as `torch.bfloat16`. */
  readonly dtype: string;
  /** KV heads of the whole model. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly layers: number;
  /** Such as `CPU_ATTN` or `FLASH_ATTN`. */
  readonly attentionBackend: string;
  /** The value of `--kv-cache-dtype`. @default 'auto' */
  readonly cacheDtype?: string;
  /** Whether the hybrid KV cache manager is on. @default true */
  readonly hybridAllocator?: boolean;
  /** @default 'pull' */
  readonly transferMode?: 'pull' | 'push';
}

/** Versions of vLLM whose hash {@link compatibilityHash} computes. */
export const VLLM_VERSIONS: readonly string[] = Object.keys(CONNECTOR_VERSIONS);

/** @internal */
export const COMPATIBILITY_OPTIONS: OptionTable<VllmCompatibility> = optionTable<VllmCompatibility>({
  vllmVersion: text.about('Version of vLLM.').required(),
  model: text.about('The text after --model.').required(),
  dtype: text.about('Data type of the model, such as torch.bfloat16.').required(),
  kvHeads: integer(1).about('KV heads of the whole model.').required(),
  headDim: integer(1).about('Elements of a head.').required(),
  layers: integer(1).about('Layers of the whole model.').required(),
  attentionBackend: text.about('The attention backend, such as CPU_ATTN.').required(),
  cacheDtype: text.about('The value of --kv-cache-dtype.'),
  hybridAllocator: boolean.about('Whether the hybrid KV cache manager is on.'),
  transferMode: oneOf('pull', 'push').about('Which side moves the bytes.'),
});

/**
 * The hash that workers compare before they read from each other: SHA-256 of the factors as Python's `json.dumps`
 * writes them. A model with a speculative decoder of EAGLE's kind has another hash. Source: vLLM `nixl/metadata.py`.
 *
 * For a version that is not in {@link VLLM_VERSIONS}, take the hash from a worker: `askSideChannel`.
 *
 * @throws TypeError, RangeError
 */
export function compatibilityHash(options: VllmCompatibility): string {
  const path = 'compatibilityHash options';
  COMPATIBILITY_OPTIONS.check(path, options);
  checkOneOf(`${path}.vllmVersion`, options.vllmVersion, VLLM_VERSIONS);
  const factors: Record<string, string | number | boolean | null> = {
    attn_backend_name: options.attentionBackend,
    cache_dtype: options.cacheDtype ?? 'auto',
    dtype: options.dtype,
    head_size: options.headDim,
    is_hma_enabled: options.hybridAllocator ?? true,
    model: options.model,
    nixl_connector_version: CONNECTOR_VERSIONS[options.vllmVersion] as number,
    num_hidden_layers: options.layers,
    num_kv_heads: options.kvHeads,
    speculative_config: null,
    transfer_mode: options.transferMode ?? 'pull',
    vllm_version: options.vllmVersion,
  };
  const members = Object.keys(factors)
    .sort()
    .map((name) => `${pythonJson(name)}: ${pythonJson(factors[name])}`);
  return createHash('sha256')
    .update(`{${members.join(', ')}}`)
    .digest('hex');
}

/** JSON as Python writes it: every character outside of printable ASCII is escaped. */
function pythonJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
