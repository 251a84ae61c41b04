import { describe, expect, it } from 'vitest';
import { type FrontendOptions, frontendArgs } from '../../../lib/llm/frontend-options.js';

const args = (options: unknown) => frontendArgs('options', options as FrontendOptions);

describe('the options of a frontend', () => {
  it('are passed with the names of the native side', () => {
    expect(
      args({
        port: 1,
        migrationMaxTokens: 100,
        tls: { certPath: 'c', keyPath: 'k', clientCaPath: 'a' },
        router: {
          mode: 'kv',
          kv: { router_temperature: 0.5 },
          busy: { activeDecodeBlocks: 0.9 },
          sessionAffinitySeconds: 30,
        },
      }),
    ).toEqual({
      input: 'http',
      port: 1,
      migrationMaxSeqLen: 100,
      tlsCertPath: 'c',
      tlsKeyPath: 'k',
      tlsClientCaCertPath: 'a',
      router: {
        mode: 'kv',
        kv: { router_temperature: 0.5 },
        sessionAffinityTtlSecs: 30,
        busy: {
          active_decode_blocks_threshold: 0.9,
          active_prefill_tokens_threshold: undefined,
          active_prefill_tokens_threshold_frac: undefined,
        },
      },
    });
    expect(args({ input: 'grpc', engine: { kind: 'echo', modelName: 'e' } })).toEqual({
      input: 'grpc',
      engine: 'echo',
      modelName: 'e',
    });
    expect(args({})).toEqual({ input: 'http' });
    expect(args({ processor: () => {}, routes: { '/own': () => {}, '/other': () => {} } })).toEqual({
      input: 'http',
      processor: true,
      routes: ['/own', '/other'],
    });
  });

  it('are passed unchanged if the native side has the same name', () => {
    const same = {
      host: '127.0.0.1',
      port: 2,
      migrationLimit: 3,
      namespace: 'a',
      namespacePrefix: 'b',
      requestTemplate: 'package.json',
      tokenizer: 'fastokens',
      metricsPrefix: 'd',
      kvCacheBlockSize: 32,
      anthropicApi: true,
      stripAnthropicPreamble: false,
      streamingToolDispatch: true,
      streamingReasoningDispatch: false,
      reasoningField: 'reasoning',
    };
    expect(args(same)).toEqual({ input: 'http', ...same });
    expect(args({ input: 'grpc', port: 0, metricsPort: 0 })).toEqual({ input: 'grpc', port: 0, metricsPort: 0 });
    for (const input of ['text', 'stdin']) expect(args({ input })).toEqual({ input });
  });

  it.each([
    [{ port: 70000 }, RangeError, 'options.port: expected an integer from 0 to 65535'],
    [{ port: '80' }, TypeError, 'options.port: expected an integer'],
    [{ prot: 80 }, TypeError, 'options.prot: unknown option'],
    [{ input: 'grpc', host: 'x' }, TypeError, 'options.host: unknown option'],
    [{ input: 'smtp' }, TypeError, 'options.input: expected one of'],
    [{ router: { mode: 'kvv' } }, TypeError, 'options.router.mode: expected one of'],
    [{ router: { busy: { blocks: 1 } } }, TypeError, 'options.router.busy.blocks: unknown option'],
    [{ tls: { certPath: 'c' } }, TypeError, 'options.tls.keyPath: expected a string'],
    [{ engine: { kind: 'vllm' } }, TypeError, 'options.engine.kind: expected one of'],
    [{ processor: 'mine' }, TypeError, 'options.processor: expected a function, got "mine"'],
    [
      { processor: () => {}, engine: { kind: 'echo' } },
      TypeError,
      'options.processor: expected engine workers, got echo',
    ],
    [{ routes: [] }, TypeError, 'options.routes: expected an object'],
    [{ routes: { '/x': 1 } }, TypeError, 'options.routes["/x"]: expected a function, got 1'],
    [{ input: 'text', routes: {} }, TypeError, 'options.routes: unknown option'],
    [{ anthropicApi: 'yes' }, TypeError, 'options.anthropicApi: expected a boolean, got "yes"'],
    [
      { tokenizer: 'fast' },
      TypeError,
      'options.tokenizer: expected one of default, fastokens, basetenkenizer, got "fast"',
    ],
    [{ reasoningField: 1 }, TypeError, 'options.reasoningField: expected one of reasoning, reasoning_content, got 1'],
    [{ kvCacheBlockSize: 0 }, RangeError, 'options.kvCacheBlockSize: expected an integer from 1 to 1048576, got 0'],
    [
      { migrationMaxTokens: 2 ** 32 },
      RangeError,
      'options.migrationMaxTokens: expected an integer from 0 to 4294967295',
    ],
    [
      { router: { busy: { activeDecodeBlocks: 2 } } },
      RangeError,
      'options.router.busy.activeDecodeBlocks: expected a number from 0 to 1, got 2',
    ],
    [
      { router: { busy: { activePrefillTokens: -1 } } },
      RangeError,
      'options.router.busy.activePrefillTokens: expected an integer from 0',
    ],
    [
      { router: { busy: { activePrefillTokensShare: Infinity } } },
      RangeError,
      'options.router.busy.activePrefillTokensShare: expected a finite number of at least 0, got Infinity',
    ],
    [
      { router: { kv: { router_temperature: Number.NaN } } },
      RangeError,
      'options.router.kv.router_temperature: expected a finite number, got NaN',
    ],
    [
      { router: { sessionAffinitySeconds: 366 * 24 * 3600 } },
      RangeError,
      'options.router.sessionAffinitySeconds: expected an integer from 1 to 31536000, got 31622400',
    ],
    [{ engine: { kind: 'echo', modelName: 1 } }, TypeError, 'options.engine.modelName: expected a string, got 1'],
    [{ migrationLimit: -1 }, RangeError, 'options.migrationLimit'],
  ])('rejects %j', (options, type, message) => {
    expect(() => args(options)).toThrow(type);
    expect(() => args(options)).toThrow(message);
  });
});
