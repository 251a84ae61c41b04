import { checkTransferParams, stripTransferParams, type TransferParamsLimits } from 'dynamo-node/vllm';
import { describe, expect, it } from 'vitest';

const PARAMS = {
  do_remote_prefill: true,
  do_remote_decode: false,
  remote_block_ids: [[3, 5, 6]],
  remote_engine_id: 'engine-1',
  remote_request_id: 'cmpl-1-0-abcd',
  remote_host: '127.0.0.1',
  remote_port: 5600,
  tp_size: 1,
};
const LIMITS: TransferParamsLimits = { blockSize: 32, tokens: 70, blockCount: 7 };

describe('checkTransferParams', () => {
  it('returns the fields of vLLM, without others and without nulls', () => {
    const answer = {
      ...PARAMS,
      dcp_size: 1,
      pp_size: 1,
      remote_num_tokens: 70,
      remote_blocks_expiry_time: null,
      transfer_mode: 'pull',
      remote_prefill_cached_tokens: 0,
      something_else: { a: 1 },
    };
    const { remote_blocks_expiry_time: _, something_else: __, ...known } = answer;
    expect(checkTransferParams(answer, LIMITS)).toEqual(known);
  });

  it('returns lists of its own', () => {
    const checked = checkTransferParams(PARAMS, LIMITS);
    expect(checked.remote_block_ids[0]).not.toBe(PARAMS.remote_block_ids[0]);
  });

  it('accepts parameters of a partial prefix', () => {
    const partial = { ...PARAMS, do_remote_prefill: false, do_remote_decode: true, remote_num_tokens: 70 };
    expect(checkTransferParams(partial, { blockSize: 32 })).toMatchObject({ remote_num_tokens: 70 });
  });

  it.each<[string, Record<string, unknown>]>([
    ['do_remote_prefill: expected a boolean', { do_remote_prefill: 'yes' }],
    ['expected either do_remote_prefill or do_remote_decode, got both', { do_remote_decode: true }],
    ['expected either do_remote_prefill or do_remote_decode, got none', { do_remote_prefill: false }],
    ['remote_engine_id: expected', { remote_engine_id: undefined }],
    ['remote_engine_id: expected', { remote_engine_id: '' }],
    ['remote_request_id: expected', { remote_request_id: 'a,b' }],
    ['remote_request_id: expected', { remote_request_id: 'a'.repeat(513) }],
    ['remote_host: expected', { remote_host: null }],
    ['remote_port: expected', { remote_port: '5600' }],
    ['remote_port: expected', { remote_port: 65536 }],
    ['tp_size: expected', { tp_size: 0 }],
    ['tp_size: expected', { tp_size: undefined }],
    ['transfer_mode: expected', { transfer_mode: 'push' }],
    ['remote_block_ids: expected', { remote_block_ids: undefined }],
    ['remote_block_ids.length: expected', { remote_block_ids: [[3], [5]] }],
    ['remote_block_ids[0]: expected', { remote_block_ids: [7] }],
    ['remote_block_ids[0].length: expected', { remote_block_ids: [[]] }],
    ['remote_block_ids[0]: expected 3 ids for 70 tokens', { remote_block_ids: [[3, 5]] }],
    ['remote_block_ids[0]: expected 3 ids for 70 tokens', { remote_block_ids: [[3, 5, 6, 4]] }],
    ['remote_block_ids[0][1]: expected', { remote_block_ids: [[3, 7, 6]] }],
    ['remote_block_ids[0][0]: expected', { remote_block_ids: [[-1, 5, 6]] }],
    ['remote_block_ids[0]: expected different ids', { remote_block_ids: [[3, 5, 3]] }],
    ['remote_num_tokens: expected', { remote_num_tokens: 97 }],
    ['remote_num_tokens: expected', { remote_num_tokens: 0.5 }],
    ['remote_blocks_expiry_time: expected', { remote_blocks_expiry_time: 'soon' }],
  ])('rejects them with vllm.params: %s', (message, changes) => {
    const check = (): unknown => checkTransferParams({ ...PARAMS, ...changes }, LIMITS);
    expect(check).toThrow(
      expect.objectContaining({ reason: 'vllm.params', class: 'InvalidRequest', code: 'DYN_INVALID_REQUEST' }),
    );
    expect(check).toThrow(`kv_transfer_params${message.startsWith('expected') ? ': ' : '.'}${message}`);
  });

  it.each([undefined, null, 'text', []])('rejects %j with vllm.params', (params) => {
    expect(() => checkTransferParams(params)).toThrow(/kv_transfer_params: expected an object/);
  });

  it('rejects wrong limits with TypeError', () => {
    expect(() => checkTransferParams(PARAMS, { blocks: 1 } as never)).toThrow(/limits.blocks: unknown option/);
  });
});

describe('stripTransferParams', () => {
  it('removes them from every place of a request, and says where they were', () => {
    const body = {
      model: 'm',
      kv_transfer_params: PARAMS,
      vllm_xargs: { kv_transfer_params: 'x', session_id: 'a' },
      nvext: { kv_transfer_params: {} },
      sampling_params: { extra_args: { kv_transfer_params: PARAMS }, n: 1 },
      extra_args: {
        kv_transfer_params: PARAMS,
        nvext: { kv_transfer_params: PARAMS },
        sampling_options: { kv_transfer_params: PARAMS },
        vllm_tito: { kv_transfer_params: PARAMS, sampling_params: { extra_args: { kv_transfer_params: PARAMS } } },
      },
    };
    expect(stripTransferParams(body)).toEqual([
      'kv_transfer_params',
      'vllm_xargs.kv_transfer_params',
      'nvext.kv_transfer_params',
      'sampling_params.extra_args.kv_transfer_params',
      'extra_args.kv_transfer_params',
      'extra_args.nvext.kv_transfer_params',
      'extra_args.sampling_options.kv_transfer_params',
      'extra_args.vllm_tito.kv_transfer_params',
      'extra_args.vllm_tito.sampling_params.extra_args.kv_transfer_params',
    ]);
    expect(JSON.stringify(body)).not.toContain('kv_transfer_params');
    expect(body).toMatchObject({ model: 'm', vllm_xargs: { session_id: 'a' }, sampling_params: { n: 1 } });
  });

  it('leaves other requests as they are', () => {
    const body = { messages: [{ content: 'kv_transfer_params' }], kv_transfer_params: null, vllm_xargs: 7 };
    expect(stripTransferParams(body)).toEqual([]);
    expect(body).toEqual({ messages: [{ content: 'kv_transfer_params' }], vllm_xargs: 7 });
    for (const other of [undefined, null, 7, 'text', []]) expect(stripTransferParams(other)).toEqual([]);
  });
});
