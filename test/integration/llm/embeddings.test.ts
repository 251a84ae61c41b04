import { encodeEmbedding, type RawEngine, registerModel } from 'dynamo-node';
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';

const deployment = deployments();

/** Numbers that 32-bit floats represent exactly. */
const VECTORS = [[1, -0.5, 0.0625], [0.25], []];

const input = VECTORS.map((_, index) => `text ${index}`);

const answerOf = (embeddings: readonly unknown[]) => ({
  object: 'list',
  model: 'vectors',
  data: embeddings.map((embedding, index) => ({ index, object: 'embedding', embedding })),
  usage: { prompt_tokens: 3, total_tokens: 3 },
});

/** A client of the model that `serve` serves. */
async function clientOf(serve: (here: ReturnType<typeof deployment>) => Promise<unknown>): Promise<OpenAI> {
  const here = deployment();
  await serve(here);
  const frontend = await here.frontend();
  await frontend.waitForModel('vectors');
  return new OpenAI({ baseURL: `${frontend.url}/v1`, apiKey: 'none', maxRetries: 0 });
}

async function expectVectors(client: OpenAI): Promise<void> {
  const create = async (more: { encoding_format?: 'float' | 'base64' } = {}) =>
    (await client.embeddings.create({ model: 'vectors', input, ...more })).data.map(({ embedding }) => embedding);
  expect(await create(), 'as the client asks by default').toEqual(VECTORS);
  expect(await create({ encoding_format: 'float' })).toEqual(VECTORS);
  expect(await create({ encoding_format: 'base64' })).toEqual(
    VECTORS.map((vector) => Buffer.from(new Float32Array(vector).buffer).toString('base64')),
  );
}

describe('embeddings', () => {
  it.each<[string, (vector: number[]) => unknown]>([
    ['numbers', (vector: number[]) => vector],
    ['Float32Array', (vector: number[]) => new Float32Array(vector)],
    ['Float64Array', (vector: number[]) => new Float64Array(vector)],
    ['encodeEmbedding', (vector: number[]) => encodeEmbedding(vector)],
  ])('of an engine reach the stock client in each format: %s', async (_, of) => {
    const engine: RawEngine = {
      start: () => ({ model: 'vectors' }),
      async *generate() {
        yield answerOf(VECTORS.map((vector) => of(vector)));
      },
    };
    await expectVectors(await clientOf((here) => here.serve(engine, { raw: true, modelTypes: ['embedding'] })));
  });

  it('of an engine that are no numbers fail with 500', async () => {
    const engine: RawEngine = {
      start: () => ({ model: 'vectors' }),
      async *generate() {
        yield answerOf([[1, 'two']]);
      },
    };
    const client = await clientOf((here) => here.serve(engine, { raw: true, modelTypes: ['embedding'] }));
    await expect(client.embeddings.create({ model: 'vectors', input })).rejects.toMatchObject({ status: 500 });
    expect(() => encodeEmbedding('AA==' as never)).toThrow(
      'encodeEmbedding vector: expected an array of numbers, got "AA=="',
    );
    expect(() => encodeEmbedding([null] as never)).toThrow('encodeEmbedding vector[0]: expected a number, got null');
  });

  it('of a handler reach the stock client with encodeEmbedding', async () => {
    await expectVectors(
      await clientOf(async (here) => {
        const runtime = await here.runtime();
        const endpoint = runtime.endpoint('test.vectors.generate');
        await endpoint.serve(() => answerOf(VECTORS.map((vector) => encodeEmbedding(vector))));
        await registerModel(endpoint, { modelName: 'vectors', modelTypes: ['embedding'], modelInput: 'text' });
      }),
    );
  });
});
