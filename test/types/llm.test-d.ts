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
import { assertType, describe, expectTypeOf, test } from 'vitest';

declare const endpoint: Endpoint;
declare const engine: LLMEngine;

describe('an engine', () => {
  test('gets tokens and gives tokens', () => {
    assertType<LLMEngine>({
      start: () => ({ model: 'parrot', llm: { contextLength: 4096 } }),
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

  test('gives nothing else', () => {
    // @ts-expect-error: an item has tokens, if none
    assertType<LLMEngineOutput>({ finish_reason: 'stop' });
    // @ts-expect-error: no such reason
    assertType<LLMEngineOutput>({ token_ids: [], finish_reason: 'done' });
    // @ts-expect-error: text is no token
    assertType<LLMEngineOutput>({ token_ids: ['a'] });
    // @ts-expect-error: an engine has a start
    void serveEngine(endpoint, { async *generate() {} });
    // @ts-expect-error: no such API
    void serveEngine(endpoint, engine, { modelTypes: ['telepathy'] });
    // @ts-expect-error: no such part
    void serveEngine(endpoint, engine, { workerType: 'router' });
  });

  test('that is raw has the types of its own requests', () => {
    type Picture = RawEngine<{ prompt: string }, { url: string }>;
    expectTypeOf<Picture['generate']>().parameter(0).toEqualTypeOf<{ prompt: string }>();
    expectTypeOf<Picture['generate']>().returns.toEqualTypeOf<AsyncIterable<{ url: string }>>();
  });

  test('is offered under a model card', () => {
    expectTypeOf<'chat' | 'completions'>().toExtend<ModelType>();
    void registerModel(endpoint, { modelPath: './model', needs: [['decode']] });
    // @ts-expect-error: sets of workers
    void registerModel(endpoint, { modelPath: './model', needs: ['decode'] });
    // @ts-expect-error: no options
    void registerModel(endpoint);
  });
});

describe('a frontend', () => {
  const runtime: RuntimeOptions = { discovery: { kind: 'mem' } };

  test('takes the options of its input alone', () => {
    expectTypeOf(Frontend.start).returns.resolves.toEqualTypeOf<Frontend>();
    assertType<FrontendOptions>({ port: 0, tls: { certPath: 'a.pem', keyPath: 'b.pem' }, router: { mode: 'kv' } });
    assertType<FrontendOptions>({ input: 'grpc', port: 0, metricsPort: 0 });
    // @ts-expect-error: an HTTP server has no port of metrics
    void Frontend.start(runtime, { input: 'http', metricsPort: 0 });
    // @ts-expect-error: KServe is served in the clear
    void Frontend.start(runtime, { input: 'grpc', tls: { certPath: 'a.pem', keyPath: 'b.pem' } });
    // @ts-expect-error: a key is missing
    void Frontend.start(runtime, { tls: { certPath: 'a.pem' } });
    // @ts-expect-error: no such mode
    void Frontend.start(runtime, { router: { mode: 'kv_aware' } });
    // @ts-expect-error: made by start
    void new Frontend();
  });
});
