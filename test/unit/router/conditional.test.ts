import { decidePrefillPlace, KV_ROUTER_DEFAULTS, type KvRouterConfig, type PrefillPlaceInputs } from 'dynamo-node';
import {
  ConditionalDisaggregation,
  type ConditionalInputs,
  type ConditionalReason,
  prefillPlaceOf,
} from 'dynamo-node/disagg';
import { describe, expect, it } from 'vitest';
import { kvRouterConfigRow } from '../../../lib/router/conditional-disaggregation.js';

const on = (config: KvRouterConfig = {}): KvRouterConfig => ({ conditional_disagg_enabled: true, ...config });
const load = (policy: KvRouterConfig['conditional_disagg_policy'], config: KvRouterConfig = {}): KvRouterConfig =>
  on({ conditional_disagg_policy: policy, conditional_disagg_prefill_busy_threshold: 1, ...config });
const prompt = (promptTokens: number, cachedTokens = 0, more: Partial<PrefillPlaceInputs> = {}) => ({
  promptTokens,
  cachedTokens,
  ...more,
});

describe('decidePrefillPlace', () => {
  it.each<[string, KvRouterConfig, PrefillPlaceInputs, 'local' | 'remote', string]>([
    ['off', {}, prompt(10, 10), 'remote', 'conditional disaggregation is off'],
    ['few tokens', on(), prompt(1000, 896), 'local', '104 tokens to prefill, below 2048, and 0.10 of the prompt'],
    ['an uncached prompt', on(), prompt(16), 'remote', '1.00 of the prompt to prefill, at least 0.7'],
    ['2048 tokens', on(), prompt(100_000, 97_952), 'remote', '2048 tokens to prefill, at least 2048'],
    ['2047 tokens', on(), prompt(100_000, 97_953), 'local', '2047 tokens to prefill, below 2048'],
    ['a share of 0.7', on(), prompt(1000, 300), 'remote', '0.70 of the prompt to prefill, at least 0.7'],
    ['no tokens', on(), prompt(0), 'local', '0 tokens to prefill'],
    ['more cached than asked', on(), prompt(500, 640), 'local', '0 tokens to prefill'],
    ['a busy prefill worker', load('prefill_load'), prompt(9, 0, { isPrefillBusy: true }), 'local', 'is busy'],
    ['an idle one', load('prefill_load'), prompt(9, 9, { isPrefillBusy: false }), 'remote', 'is not busy'],
    ['an unknown load', load('prefill_load'), prompt(9, 9), 'remote', 'the prefill worker has an unknown load'],
    ['either: length', load('isl_or_load'), prompt(9, 8, { isPrefillBusy: false }), 'local', 'worker is not busy'],
    ['either: load', load('isl_or_load'), prompt(9, 0, { isPrefillBusy: true }), 'local', 'worker is busy'],
    ['neither', load('isl_or_load'), prompt(9, 0, { isPrefillBusy: false }), 'remote', '1.00 of the prompt'],
  ])('decides for %s', (_, config, inputs, place, reason) => {
    const decision = decidePrefillPlace(config, inputs);
    expect(decision.place).toBe(place);
    expect(decision.reason).toContain(reason);
    expect(decision).toMatchObject(inputs);
  });

  it('keeps prefill away from a decode worker that is busy, or whose load is unknown', () => {
    const gated = on({ conditional_disagg_decode_busy_threshold: 0.5 });
    const decide = (isDecodeBusy?: boolean) =>
      decidePrefillPlace(gated, prompt(10, 9, isDecodeBusy === undefined ? {} : { isDecodeBusy }));
    expect(decide(false)).toMatchObject({ place: 'local' });
    expect(decide(true)).toMatchObject({ place: 'remote' });
    expect(decide(true).reason).toContain('but the decode worker is busy');
    expect(decide()).toMatchObject({ place: 'remote' });
    expect(decide().reason).toContain('but the decode worker has an unknown load');
    expect(decidePrefillPlace(gated, prompt(10)).place).toBe('remote');
  });

  it('rejects inputs and configurations that are none, and names the field', () => {
    expect(() => decidePrefillPlace(on(), prompt(-1))).toThrow(
      'decidePrefillPlace inputs.promptTokens: expected an integer from 0 to 9007199254740991, got -1',
    );
    expect(() => decidePrefillPlace({ conditional: true } as never, prompt(1))).toThrow(TypeError);
  });
});

describe('the configuration of conditional disaggregation', () => {
  const check = (config: unknown) => () => kvRouterConfigRow.check('kv', config);

  it('accepts its defaults, and the bounds of each field', () => {
    check(on(KV_ROUTER_DEFAULTS))();
    for (const share of [0, 1]) check({ conditional_disagg_eff_isl_ratio_threshold: share })();
    check(load('prefill_load'))();
    check(on({ conditional_disagg_policy: 'isl_or_load', router_queue_threshold: 4 }))();
    check({ conditional_disagg_policy: 'isl_or_load' })();
  });

  it.each<[string, object, ErrorConstructor, string]>([
    ['enabled', { conditional_disagg_enabled: 'yes' }, TypeError, 'expected a boolean, got "yes"'],
    ['policy', { conditional_disagg_policy: 'isl' }, TypeError, 'isl_bounding'],
    ['eff_isl_threshold', { conditional_disagg_eff_isl_threshold: -1 }, RangeError, 'got -1'],
    ['eff_isl_threshold', { conditional_disagg_eff_isl_threshold: 1.5 }, RangeError, 'got 1.5'],
    ['eff_isl_ratio_threshold', { conditional_disagg_eff_isl_ratio_threshold: 1.01 }, RangeError, 'got 1.01'],
    ['eff_isl_ratio_threshold', { conditional_disagg_eff_isl_ratio_threshold: Number.NaN }, RangeError, 'got NaN'],
    ['prefill_busy_threshold', { conditional_disagg_prefill_busy_threshold: -0.1 }, RangeError, 'got -0.1'],
    ['decode_busy_threshold', { conditional_disagg_decode_busy_threshold: '1' }, TypeError, 'got "1"'],
  ])('rejects another %s', (field, config, kind, message) => {
    expect(check(config)).toThrow(kind);
    expect(check(config)).toThrow(`kv.conditional_disagg_${field}`);
    expect(check(config)).toThrow(message);
  });

  it.each(['prefill_load', 'isl_or_load'] as const)('rejects %s without a threshold', (conditional_disagg_policy) => {
    expect(check(on({ conditional_disagg_policy }))).toThrow(
      'kv.conditional_disagg_prefill_busy_threshold: expected a number, or a router_queue_threshold, ' +
        `with conditional_disagg_policy ${conditional_disagg_policy}, got neither`,
    );
  });
});

describe('ConditionalDisaggregation', () => {
  const inputs = (promptTokens: number, cachedTokens = 0, prefillQueueSize = 0): ConditionalInputs => ({
    promptTokens,
    cachedTokens,
    prefillQueueSize,
  });

  it.each<[ConditionalInputs, 'local' | 'remote', ConditionalReason, number]>([
    [inputs(1000), 'local', 'short', 1000],
    [inputs(1001), 'remote', 'long', 1001],
    [inputs(5000, 4000), 'local', 'short', 1000],
    [inputs(5000, 3999), 'remote', 'long', 1001],
    [inputs(5000, 0, 1), 'remote', 'long', 5000],
    [inputs(5000, 0, 2), 'local', 'queue-full', 5000],
    [inputs(10, 64, 9), 'local', 'short', 0],
  ])('decides %j with its defaults', (given, place, reason, prefillTokens) => {
    expect(new ConditionalDisaggregation().decide(given)).toEqual({
      ...given,
      maxLocalPrefillLength: 1000,
      maxPrefillQueueSize: 2,
      place,
      reason,
      prefillTokens,
    });
  });

  it('decides by limits that changed while it is used', () => {
    const rule = new ConditionalDisaggregation({ maxLocalPrefillLength: 100 });
    const decide = () => rule.decide(inputs(90, 0, 4)).reason;
    expect(decide()).toBe('short');
    rule.update({ maxLocalPrefillLength: 50 });
    expect(decide()).toBe('queue-full');
    rule.update({ maxPrefillQueueSize: 5 });
    expect(decide()).toBe('long');
    expect(rule.limits).toEqual({ maxLocalPrefillLength: 50, maxPrefillQueueSize: 5 });
    rule.update({ maxPrefillQueueSize: 0 });
    expect(rule.decide(inputs(90)).place).toBe('local');
  });

  it('rejects limits and inputs that are none, and keeps its limits', () => {
    const rule = new ConditionalDisaggregation();
    expect(() => rule.update({ maxLocalPrefillLength: 5, maxPrefillQueueSize: -1 })).toThrow(
      'update options.maxPrefillQueueSize: expected an integer from 0 to 9007199254740991, got -1',
    );
    expect(rule.limits).toEqual({ maxLocalPrefillLength: 1000, maxPrefillQueueSize: 2 });
    expect(() => new ConditionalDisaggregation({ maxLocal: 1 } as never)).toThrow(TypeError);
    expect(() => rule.decide({ promptTokens: 1, cachedTokens: 0 } as never)).toThrow(
      'conditionalDisaggregation.decide inputs.prefillQueueSize',
    );
  });
});

describe('prefillPlaceOf', () => {
  it('reads the decision of a frontend from a request', () => {
    const annotations: string[] = [];
    expect(prefillPlaceOf({ annotations: ['x-bypass-remote-prefill'] })).toBe('local');
    expect(prefillPlaceOf({ annotations, prefill_result: { disaggregated_params: {} } })).toBe('remote');
    expect(prefillPlaceOf({ annotations, bootstrap_info: { bootstrap_room: 1 } })).toBe('remote');
    expect(prefillPlaceOf({ annotations: ['other'] })).toBeUndefined();
  });
});
