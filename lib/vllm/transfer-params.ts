import { checkArray, checkBoolean, checkInteger, checkObject, checkOneOf, checkRange, checkString } from '../check.js';
import { badArgument } from '../errors.js';
import { TRANSFER_PARAMS } from '../llm/kv-transfer.js';
import { integer, type OptionTable, optionTable } from '../options.js';
import { VllmError } from './errors.js';

/**
 * Parameters of a KV transfer, with the field names of vLLM: `kv_transfer_params` of a request or of an answer.
 *
 * With `do_remote_prefill`, the reader takes the KV of the whole prompt from the owner. With `do_remote_decode`, a
 * worker keeps its blocks for a reader; if there are also `remote_*` fields, it first takes `remote_num_tokens` tokens
 * from the owner. Source: vLLM `nixl/pull_scheduler.py`.
 */
export interface VllmTransferParams {
  readonly do_remote_prefill: boolean;
  readonly do_remote_decode: boolean;
  /** Logical block ids of the owner, one list for each KV cache group. */
  readonly remote_block_ids: readonly (readonly number[])[];
  readonly remote_engine_id: string;
  readonly remote_request_id: string;
  /** The side channel of the owner. */
  readonly remote_host: string;
  readonly remote_port: number;
  /** Tensor-parallel ranks of the owner. Without it, a reader sends no heartbeats. */
  readonly tp_size: number;
  readonly dcp_size?: number;
  readonly pp_size?: number;
  /** Tokens whose KV the owner has. */
  readonly remote_num_tokens?: number;
  /** On the owner's clock. */
  readonly remote_blocks_expiry_time?: number | null;
  readonly transfer_mode?: 'pull';
  readonly remote_prefill_cached_tokens?: number;
}

/** Makes a worker keep the blocks of a request until a reader has them. */
export const KEEP_BLOCKS: Readonly<Record<string, unknown>> = Object.freeze({
  do_remote_decode: true,
  do_remote_prefill: false,
});

/** What the parameters must agree with. */
export interface TransferParamsLimits {
  /** Tokens in a logical block. */
  readonly blockSize?: number;
  /** Tokens whose KV a reader takes. With `blockSize`, there must be exactly as many block ids as they fill. */
  readonly tokens?: number;
  /** Logical blocks of the owner: every id is below it. */
  readonly blockCount?: number;
}

const LIMITS: OptionTable<TransferParamsLimits> = optionTable<TransferParamsLimits>({
  blockSize: integer(1).about('Tokens in a logical block.'),
  tokens: integer(1).about('Tokens whose KV is transferred.'),
  blockCount: integer(1).about('Logical blocks of the owner.'),
});

const PATH = TRANSFER_PARAMS;
const MAX_ID_LENGTH = 512;
const MAX_BLOCKS = 2 ** 20;

type Check = (path: string, value: unknown) => void;

const text: Check = (path, value) => {
  checkString(path, value);
  // Heartbeats separate ids by commas, and readers are logged by these names.
  if (value === '' || value.length > MAX_ID_LENGTH || /[\s,\p{Cc}\p{Surrogate}]/u.test(value))
    throw badArgument(
      new RangeError(`${path}: expected 1 to ${MAX_ID_LENGTH} characters without spaces and commas, got another text`),
    );
};
const count =
  (min: number, max?: number): Check =>
  (path, value) =>
    checkInteger(path, value, min, max);

/** The fields that a transfer needs. */
const NEEDED: Readonly<Record<string, Check>> = {
  remote_engine_id: text,
  remote_request_id: text,
  remote_host: text,
  remote_port: count(1, 65535),
  tp_size: count(1, 1024),
};

/** Fields that may be absent or null. */
const OPTIONAL: Readonly<Record<string, Check>> = {
  dcp_size: count(1, 1024),
  pp_size: count(1, 1024),
  remote_num_tokens: count(0),
  remote_blocks_expiry_time: (path, value) => checkRange(path, value, 0),
  transfer_mode: (path, value) => checkOneOf(path, value, ['pull']),
  remote_prefill_cached_tokens: count(0),
};

/**
 * Checks the parameters of a transfer in full. The result has the fields that vLLM knows, and no others. vLLM relies
 * on its peers for that.
 *
 * @throws VllmError `vllm.params`, which names the field
 */
export function checkTransferParams(params: unknown, limits: TransferParamsLimits = {}): VllmTransferParams {
  LIMITS.check('checkTransferParams limits', limits);
  try {
    checkObject(PATH, params);
    return paramsFrom(params, limits);
  } catch (cause) {
    throw new VllmError('vllm.params', (cause as Error).message, { cause });
  }
}

function paramsFrom(params: Record<string, unknown>, limits: TransferParamsLimits): VllmTransferParams {
  const { do_remote_prefill: prefill = false, do_remote_decode: decode = false } = params;
  checkBoolean(`${PATH}.do_remote_prefill`, prefill);
  checkBoolean(`${PATH}.do_remote_decode`, decode);
  if (prefill === decode)
    throw new RangeError(
      `${PATH}: expected either do_remote_prefill or do_remote_decode, got ${prefill ? 'both' : 'none'}`,
    );
  const result: Record<string, unknown> = { do_remote_prefill: prefill, do_remote_decode: decode };
  for (const [name, check] of Object.entries(NEEDED)) {
    check(`${PATH}.${name}`, params[name]);
    result[name] = params[name];
  }
  for (const [name, check] of Object.entries(OPTIONAL)) {
    const value = params[name];
    if (value === undefined || value === null) continue;
    check(`${PATH}.${name}`, value);
    result[name] = value;
  }
  result['remote_block_ids'] = blockIdsFrom(params['remote_block_ids'], limits);
  return checkedTokens(result as unknown as VllmTransferParams, limits);
}

/** One list a group. Models with several groups are not supported. */
function blockIdsFrom(groups: unknown, { blockCount = MAX_BLOCKS }: TransferParamsLimits): number[][] {
  const path = `${PATH}.remote_block_ids`;
  checkArray(path, groups, 'lists of block ids');
  checkInteger(`${path}.length`, groups.length, 1, 1);
  const [ids] = groups;
  checkArray(`${path}[0]`, ids, 'block ids');
  checkInteger(`${path}[0].length`, ids.length, 1, blockCount);
  for (const [index, id] of ids.entries()) checkInteger(`${path}[0][${index}]`, id, 0, blockCount - 1);
  if (new Set(ids).size !== ids.length) throw new RangeError(`${path}[0]: expected different ids, got one twice`);
  return [[...(ids as number[])]];
}

function checkedTokens(params: VllmTransferParams, { blockSize, tokens }: TransferParamsLimits): VllmTransferParams {
  if (blockSize === undefined) return params;
  const [ids] = params.remote_block_ids as [readonly number[]];
  // A worker may have allocated a block for the next token already.
  checkInteger(`${PATH}.remote_num_tokens`, params.remote_num_tokens ?? 0, 0, ids.length * blockSize);
  const expected = tokens === undefined ? ids.length : Math.ceil(tokens / blockSize);
  if (ids.length !== expected)
    throw new RangeError(
      `${PATH}.remote_block_ids[0]: expected ${expected} ids for ${tokens} tokens in blocks of ${blockSize}, ` +
        `got ${ids.length}`,
    );
  return params;
}
