import { Client, credentials } from '@grpc/grpc-js';
import { Frontend, registerModel } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { closeAfterEach } from '../../helpers/closing.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { decode, encode, type Message } from '../../helpers/llm/protobuf.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
const onEnd = closeAfterEach();

type Fields = ReturnType<typeof decode>;

/** A KServe client of a frontend. */
async function kserve(here: Deployment) {
  const frontend = await Frontend.start(here.options, { input: 'grpc', port: 0, metricsPort: 0 });
  onEnd(() => frontend.close({ timeoutMs: 5000 }));
  await frontend.ready;
  const client = new Client(frontend.url.replace('grpc://', ''), credentials.createInsecure());
  onEnd(() => client.close());
  const path = (method: string): string => `/inference.GRPCInferenceService/${method}`;
  const call = (method: string, message: Message = {}): Promise<Fields> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(path(method), encode, decode, message, (error, reply) =>
        error === null ? resolve(reply as Fields) : reject(error),
      );
    });
  const stream = async (messages: Message[]): Promise<Fields[]> => {
    const duplex = client.makeBidiStreamRequest(path('ModelStreamInfer'), encode, decode);
    for (const message of messages) duplex.write(message);
    duplex.end();
    const replies: Fields[] = [];
    for await (const reply of duplex) replies.push(reply as Fields);
    return replies;
  };
  const ready = (name: string) =>
    waitFor(
      `the model ${name}`,
      async () => (await call('ModelReady', { 1: name })).get(1)?.[0] ?? 0,
      (state) => state === 1,
    );
  return { call, stream, ready };
}

const text = (value: unknown): string => (value as Buffer).toString();
/** The text of the first output of a ModelInferResponse: tensor contents, or raw contents with a length prefix. */
function output(response: Fields): string {
  const [tensor] = response.get(5) as Buffer[];
  const contents = decode(tensor as Buffer).get(5)?.[0];
  if (contents !== undefined) return text(decode(contents as Buffer).get(8)?.[0]);
  return text((response.get(6)?.[0] as Buffer).subarray(4));
}

const infer = (model: string, prompt: string, more: Message = {}): Message => ({
  1: model,
  3: 'request-1',
  5: [{ 1: 'text_input', 2: 'BYTES', 3: Uint8Array.of(1), 5: { 8: prompt } }],
  ...more,
});

describe('KServe over gRPC', () => {
  it('serves a token engine in TypeScript', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const { call, ready } = await kserve(here);
    expect((await call('ServerLive')).get(1)).toEqual([1]);
    await ready('counting');
    expect((await call('ServerReady')).get(1)).toEqual([1]);
    const metadata = await call('ModelMetadata', { 1: 'counting' });
    expect(text(metadata.get(1)?.[0])).toBe('counting');
    const parameters = { 4: [{ 1: 'max_tokens', 2: { 2: 5 } }] };
    const reply = await call('ModelInfer', infer('counting', 'hello there', parameters));
    expect(text(reply.get(1)?.[0])).toBe('counting');
    expect(output(reply)).toMatch(/./);
  });

  it('serves its metrics on a separate port', async () => {
    const here = deployment();
    const metricsPort = await freePort();
    const frontend = await Frontend.start(here.options, { input: 'grpc', port: 0, metricsPort });
    onEnd(() => frontend.close({ timeoutMs: 5000 }));
    await frontend.ready;
    const scrape = () =>
      fetch(`http://127.0.0.1:${metricsPort}/metrics`).then(
        async (response) => (response.ok ? response.text() : ''),
        () => '',
      );
    expect(await waitFor('the metrics', scrape)).toMatch(/^dynamo_/m);
  });

  it('streams responses', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const { stream, ready } = await kserve(here);
    await ready('counting');
    const streaming = { 1: 'streaming', 2: 'BOOL', 3: Uint8Array.of(1), 5: { 1: Uint8Array.of(1) } };
    const request = infer('counting', 'hello there');
    const replies = await stream([{ ...request, 5: [...(request[5] as Message[]), streaming] }]);
    expect(replies.length).toBeGreaterThan(2);
    expect(replies.map((reply) => reply.get(1)).filter(Boolean)).toEqual([]);
    expect(replies.map((reply) => output(decode(reply.get(2)?.[0] as Buffer))).join('')).toMatch(/./);
  });

  it('rejects an unknown model and a request without text', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const { call, ready } = await kserve(here);
    await ready('counting');
    await expect(call('ModelInfer', infer('unknown', 'x'))).rejects.toMatchObject({ code: 5 });
    await expect(call('ModelInfer', { 1: 'counting' })).rejects.toMatchObject({
      code: 3,
      details: expect.stringContaining('text_input'),
    });
  });

  it('sends tensors to a worker in TypeScript', async () => {
    const here = deployment();
    const runtime = await here.runtime();
    type Tensor = {
      metadata: { name: string; data_type: string; shape: number[] };
      data: { data_type: string; values: number[] };
    };
    const endpoint = runtime.endpoint<{ model: string; tensors: Tensor[] }, unknown>('test.tensor.generate');
    await endpoint.serve(async function* ({ model, tensors }) {
      const doubled = tensors.map(({ metadata, data }) => ({
        metadata: { ...metadata, name: 'doubled' },
        data: { ...data, values: data.values.map((value) => value * 2) },
      }));
      yield { model, tensors: doubled };
    });
    const tensor = (name: string) => ({ name, data_type: 'Int32', shape: [-1] });
    const tensor_model_config = { name: 'tensors', inputs: [tensor('numbers')], outputs: [tensor('doubled')] };
    await registerModel(endpoint, {
      modelName: 'tensors',
      modelTypes: ['tensor'],
      modelInput: 'tensor',
      runtimeConfig: { tensor_model_config },
    });
    const { call, ready } = await kserve(here);
    await ready('tensors');
    const reply = await call('ModelInfer', {
      1: 'tensors',
      5: [{ 1: 'numbers', 2: 'INT32', 3: Uint8Array.of(3), 5: { 2: Uint8Array.of(1, 2, 3) } }],
    });
    const [out] = reply.get(5) as Buffer[];
    const contents = decode(decode(out as Buffer).get(5)?.[0] as Buffer);
    expect(text(decode(out as Buffer).get(1)?.[0])).toBe('doubled');
    expect([...(contents.get(2)?.[0] as Buffer)]).toEqual([2, 4, 6]);
  });
});
