import { type KvHandoff, readHandoff } from 'dynamo-node/disagg';
import { describe, expect, it } from 'vitest';
import { checkHandoff, handoffParams, promptDigest } from '../../../lib/disagg/handoff.js';

const good = handoffParams({
  endpoint: 'dynamo.prefill.kv_offers',
  instance: '18446744073709551615',
  offer: '0b6f8a2e-1111-4222-8333-444455556666',
  model: 'tiny',
  layout: '{"layers":4}',
  tokens: 9,
  prompt: promptDigest([1, 2, 3]),
  blocks: [7, 0, 3],
  lease_ms: 10_000,
}).kv_handoff;

const read = (change: Record<string, unknown>): KvHandoff =>
  readHandoff('test', { kv_handoff: { ...good, ...change } });

describe('readHandoff', () => {
  it('returns the content that a prefill worker has sent, after JSON', () => {
    const params: unknown = JSON.parse(JSON.stringify({ kv_handoff: good, dynamo_trace: {} }));
    expect(readHandoff('test', params)).toEqual(good);
  });

  it.each([
    ['nothing', undefined, 'expected an object, got undefined'],
    ['null', null, 'expected an object, got null'],
    ['text', 'kv_handoff', 'expected an object, got "kv_handoff"'],
    ['an empty object', {}, 'expected an object, got no field'],
    ['the content of another engine', { kv_transfer_params: {} }, 'expected an object, got kv_transfer_params'],
    ['a list as content', { kv_handoff: [good] }, 'expected an object, got kv_handoff'],
  ])('rejects %s with disagg.handoff', (_, params, message) => {
    expect(() => readHandoff('test', params)).toThrow(message);
    expect(() => readHandoff('test', params)).toThrow(
      expect.objectContaining({ name: 'HandoffError', reason: 'disagg.handoff', code: 'DYN_BACKEND_PROTOCOL' }),
    );
  });

  it.each([2, 0, '1', undefined, null, 1n])('rejects version %s with disagg.version', (version) => {
    expect(() => read({ version })).toThrow(expect.objectContaining({ reason: 'disagg.version', retryable: false }));
    expect(() => read({ version })).toThrow(/kv_handoff\.version: expected 1, got .+; run the same version/);
  });

  it.each([
    ['type', 'vllm/kv'],
    ['endpoint', 'prefill'],
    ['endpoint', 'a.b.c.d'],
    ['endpoint', '../../etc'],
    ['instance', 5],
    ['instance', '-1'],
    ['instance', '18446744073709551616'],
    ['instance', '0x10'],
    ['offer', 'offer-1'],
    ['offer', ''],
    ['model', ''],
    ['model', null],
    ['layout', {}],
    ['tokens', 0],
    ['tokens', 1.5],
    ['tokens', '9'],
    ['tokens', Number.NaN],
    ['prompt', 'ABC'],
    ['prompt', `${good.prompt}0`],
    ['blocks', []],
    ['blocks', 'abc'],
    ['blocks', [1, 1]],
    ['blocks', [-1]],
    ['blocks', [0.5]],
    ['blocks', [2 ** 32]],
    ['blocks', { length: 3 }],
    ['lease_ms', 0],
    ['lease_ms', 3_600_001],
    ['lease_ms', Number.POSITIVE_INFINITY],
  ])('rejects a wrong %s with the name of the field: %j', (name, value) => {
    expect(() => read({ [name]: value })).toThrow(
      new RegExp(`^test: disaggregated_params\\.kv_handoff\\.${name}: expected .+, got `),
    );
    expect(() => read({ [name]: undefined })).toThrow(`kv_handoff.${name}: expected`);
  });

  it('rejects a field that it does not know', () => {
    expect(() => read({ address: '0x7f00' })).toThrow('kv_handoff.address: unknown field');
  });
});

describe('checkHandoff', () => {
  const expected = {
    endpoint: good.endpoint,
    model: good.model,
    layout: good.layout,
    prompt: good.prompt,
    tokens: good.tokens,
    blockSize: 4,
  };

  it('accepts the handoff of the same prompt, model and layout', () => {
    expect(() => checkHandoff('test', good, expected)).not.toThrow();
  });

  it.each([
    ['disagg.handoff', { endpoint: 'other.prefill.kv_offers' }],
    ['disagg.model', { model: 'large' }],
    ['disagg.layout', { layout: '{"layers":8}' }],
    ['disagg.prompt', { prompt: promptDigest([1, 2, 4]) }],
    ['disagg.prompt', { tokens: 10 }],
    ['disagg.blocks', { blockSize: 8 }],
    ['disagg.blocks', { blockSize: 2 }],
  ])('throws %s if this worker has %j', (reason, change) => {
    expect(() => checkHandoff('test', good, { ...expected, ...change })).toThrow(
      expect.objectContaining({ name: 'HandoffError', reason }),
    );
  });
});

describe('promptDigest', () => {
  it('depends on each token and on the order, not on the type of the array', () => {
    expect(promptDigest(Uint32Array.of(1, 2, 3))).toBe(promptDigest([1, 2, 3]));
    expect(
      new Set(
        [
          [1, 2, 3],
          [1, 3, 2],
          [1, 2],
          [1, 2, 3, 0],
        ].map(promptDigest),
      ).size,
    ).toBe(4);
    expect(promptDigest(Uint32Array.of(9, 1, 2).subarray(1))).toBe(promptDigest([1, 2]));
  });
});
