import { packArgs, unpack } from '../addon/codec.js';
import { checkArray, checkInteger, checkObject, checkString, wrongType } from '../check.js';
import { VllmError } from './errors.js';

/**
 * The memory of one rank of a vLLM worker, with the field names of vLLM. A region is the KV cache of one layer. Fields
 * that this package does not know are kept, so that metadata can be mirrored. Source: vLLM `nixl/metadata.py`.
 */
export interface VllmAgentMetadata {
  /** Unique for each start of a worker. */
  readonly engine_id: string;
  /** The metadata of the NIXL agent, for `NixlAgent.connect`. */
  readonly agent_metadata: Uint8Array;
  /** The address of block 0 of each region. */
  readonly kv_caches_base_addr: readonly bigint[];
  /** The ordinal of the device; 0 for host memory. */
  readonly device_id: number;
  /** Kernel blocks of a region. */
  readonly num_blocks: number;
  /** Bytes of a block, for each region. */
  readonly block_lens: readonly number[];
  /** Bytes from one block to the next, for each region: at least `block_lens`. */
  readonly block_strides: readonly number[];
  /** The order of layer, block, head, token and content, such as `LBHNC`. */
  readonly kv_cache_layout: string;
  /** Tokens in a kernel block. */
  readonly block_size: number;
  readonly ssm_sizes: readonly [number, number];
  /** The attention backend, such as `CPU_ATTN`. It decides about the content of a block. */
  readonly attn_backend_name: string;
  readonly physical_blocks_per_logical_kv_block: number;
  readonly region_num_blocks?: readonly number[] | null;
  readonly region_group_ids?: readonly number[] | null;
  readonly region_names?: readonly string[] | null;
  /** `DRAM` or `VRAM`, for each region. */
  readonly region_mem_types?: readonly string[] | null;
  readonly [field: string]: unknown;
}

/** The answer of a side channel. */
export interface VllmHandshake {
  /** Workers read from each other only if their hashes are equal. */
  readonly compatibilityHash: string;
  readonly metadata: VllmAgentMetadata;
}

const PATH = 'metadata';
const MAX_ADDRESS = 2n ** 64n - 1n;

/** The bytes of metadata. Addresses stay exact: no number above 2^32 becomes a float. */
export function encodeMetadata(metadata: VllmAgentMetadata): Uint8Array {
  return packArgs(metadata);
}

/** The first frame of a side channel's answer. */
export function encodeHandshake({ compatibilityHash, metadata }: VllmHandshake): Uint8Array {
  return packArgs({ compatibility_hash: compatibilityHash, agent_metadata_bytes: encodeMetadata(metadata) });
}

/**
 * Reads the first frame of a side channel's answer.
 *
 * @throws VllmError `vllm.protocol`
 */
export function decodeHandshake(bytes: Uint8Array): VllmHandshake {
  return checked(() => {
    const payload = unpack(bytes);
    checkObject('handshake', payload);
    const { compatibility_hash: compatibilityHash, agent_metadata_bytes: encoded } = payload;
    checkString('handshake.compatibility_hash', compatibilityHash);
    if (!(encoded instanceof Uint8Array)) wrongType('handshake.agent_metadata_bytes', 'bytes', encoded);
    return { compatibilityHash, metadata: metadataFrom(unpack(encoded)) };
  });
}

/**
 * Reads metadata.
 *
 * @throws VllmError `vllm.protocol`
 */
export function decodeMetadata(bytes: Uint8Array): VllmAgentMetadata {
  return checked(() => metadataFrom(unpack(bytes)));
}

function checked<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (cause) {
    const message = `the side channel answered with something else: ${(cause as Error).message}`;
    throw new VllmError('vllm.protocol', message, { cause });
  }
}

type Values = Record<string, unknown>;

function metadataFrom(value: unknown): VllmAgentMetadata {
  checkObject(PATH, value);
  const fields: Values = { ...value, kv_caches_base_addr: addresses(value['kv_caches_base_addr']) };
  for (const name of ['engine_id', 'kv_cache_layout', 'attn_backend_name']) checkString(`${PATH}.${name}`, value[name]);
  for (const [name, min] of [
    ['device_id', 0],
    ['num_blocks', 1],
    ['block_size', 1],
    ['physical_blocks_per_logical_kv_block', 1],
  ] as const)
    checkInteger(`${PATH}.${name}`, value[name], min);
  if (!(value['agent_metadata'] instanceof Uint8Array))
    wrongType(`${PATH}.agent_metadata`, 'bytes', value['agent_metadata']);
  const regions = (fields['kv_caches_base_addr'] as bigint[]).length;
  integers(value, 'block_lens', 1, regions);
  integers(value, 'block_strides', 1, regions);
  if (value['region_num_blocks'] != null) integers(value, 'region_num_blocks', 1, regions);
  if (value['region_mem_types'] != null) listOf(value, 'region_mem_types', regions);
  return fields as VllmAgentMetadata;
}

function listOf(value: Values, name: string, length: number): readonly unknown[] {
  const list = value[name];
  checkArray(`${PATH}.${name}`, list, 'values, one a region');
  checkInteger(`${PATH}.${name}.length`, list.length, length, length);
  return list;
}

function integers(value: Values, name: string, min: number, length: number): void {
  for (const [index, each] of listOf(value, name, length).entries())
    checkInteger(`${PATH}.${name}[${index}]`, each, min);
}

function addresses(list: unknown): bigint[] {
  checkArray(`${PATH}.kv_caches_base_addr`, list, 'addresses');
  checkInteger(`${PATH}.kv_caches_base_addr.length`, list.length, 1);
  return list.map((each, index) => {
    if (typeof each !== 'bigint' && !Number.isSafeInteger(each))
      wrongType(`${PATH}.kv_caches_base_addr[${index}]`, 'an integer', each);
    const address = BigInt(each as number | bigint);
    if (address < 0n || address > MAX_ADDRESS)
      wrongType(`${PATH}.kv_caches_base_addr[${index}]`, 'an address of 64 bits', address);
    return address;
  });
}
