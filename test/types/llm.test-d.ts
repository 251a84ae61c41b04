import {
  type Endpoint,
  Frontend,
  type FrontendOptions,
  type GenerateContext,
  type LLMEngine,
  type LLMEngineOutput,
  type ModelType,
  type PreprocessedRequest,
  type RawEngine,
  type RuntimeOptions,
  registerModel,
  type ServedEngine,
  serveEngine,
} from 'dynamo-node';
import { assertType, describe, expectTypeOf, it } from 'vitest';

declare const endpoint: Endpoint;
declare const engine: LLMEngine;

describe('an engine', () => {
  it('receives tokens and generates tokens', () => {
    assertType<LLMEngine>({
      start: () => ({ model: 'echo', llm: { contextLength: 4096 } }),
      async *generate(request, context) {
        expectTypeOf(request).toEqualTypeOf<PreprocessedRequest>();
        expectTypeOf(request.token_ids).toEqualTypeOf<Uint32Array>();
        expectTypeOf(context).toEqualTypeOf<GenerateContext>();
        yield { token_ids: request.token_ids, finish_reason: 'stop' };
      },
    });
    expectTypeOf(serveEngine).returns.resolves.toEqualTypeOf<ServedEngine>();
    void serveEngine(endpoint, engine, { modelTypes: ['chat'], workerType: 'prefill' });
  });

  it('rejects other items and options', () => {
    // @ts-expect-error: an item needs token_ids, even without tokens
    assertType<LLMEngineOutput>({ finish_reason: 'stop' });
    // @ts-expect-error: unknown reason
    assertType<LLMEngineOutput>({ token_ids: [], finish_reason: 'done' });
    // @ts-expect-error: a string is not a token
    assertType<LLMEngineOutput>({ token_ids: ['a'] });
    // @ts-expect-error: an engine needs start
    void serveEngine(endpoint, { async *generate() {} });
    // @ts-expect-error: unknown API
    void serveEngine(endpoint, engine, { modelTypes: ['telepathy'] });
    // @ts-expect-error: unknown worker type
    void serveEngine(endpoint, engine, { workerType: 'router' });
  });

  it('has its own request and response types if it is raw', () => {
    type Picture = RawEngine<{ prompt: string }, { url: string }>;
    expectTypeOf<Picture['generate']>().parameter(0).toEqualTypeOf<{ prompt: string }>();
    expectTypeOf<Picture['generate']>().returns.toEqualTypeOf<AsyncIterable<{ url: string }>>();
  });

  it('accepts a model card', () => {
    expectTypeOf<'chat' | 'completions'>().toExtend<ModelType>();
    void registerModel(endpoint, { modelPath: './model', needs: [['decode']] });
    // @ts-expect-error: expects sets of workers
    void registerModel(endpoint, { modelPath: './model', needs: ['decode'] });
    // @ts-expect-error: options are required
    void registerModel(endpoint);
  });
});

describe('a frontend', () => {
  const runtime: RuntimeOptions = { discovery: { kind: 'mem' } };

  it('accepts only the options of its input', () => {
    expectTypeOf(Frontend.start).returns.resolves.toEqualTypeOf<Frontend>();
    assertType<FrontendOptions>({ port: 0, tls: { certPath: 'a.pem', keyPath: 'b.pem' }, router: { mode: 'kv' } });
    assertType<FrontendOptions>({ input: 'grpc', port: 0, metricsPort: 0 });
    // @ts-expect-error: the HTTP server has no metrics port
    void Frontend.start(runtime, { input: 'http', metricsPort: 0 });
    // @ts-expect-error: the KServe server has no TLS
    void Frontend.start(runtime, { input: 'grpc', tls: { certPath: 'a.pem', keyPath: 'b.pem' } });
    // @ts-expect-error: a key is missing
    void Frontend.start(runtime, { tls: { certPath: 'a.pem' } });
    // @ts-expect-error: unknown mode
    void Frontend.start(runtime, { router: { mode: 'kv_aware' } });
    // @ts-expect-error: created by start
    void new Frontend();
  });
});
