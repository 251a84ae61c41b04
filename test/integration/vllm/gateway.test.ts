import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { shapeOf, VllmKvStore } from 'dynamo-node/vllm';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Gateway } from '../../../examples/kv-store/gateway.js';
import { freePort } from '../../../lib/testing/port.js';
import { libraryOf } from '../../helpers/nixl/library.js';
import { StandInWorker } from '../../helpers/vllm/worker.js';
import { waitFor } from '../../helpers/wait.js';

interface Seen {
  readonly path: string;
  readonly body: any;
}

/**
 * An HTTP server in the place of vLLM's: it prefills with the stand-in worker, and decodes by reading the blocks of the
 * parameters.
 */
async function serverOf(worker: StandInWorker): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString());
    seen.push({ path: request.url as string, body });
    const answer = async (): Promise<object> => {
      if (request.url === '/tokenize')
        return { tokens: [...body.prompt].map((letter: string) => letter.charCodeAt(0)) };
      const { kv_transfer_params: params } = body;
      const isStored = params.do_remote_prefill === true;
      const isRight = isStored ? await worker.decode(params, body.prompt) : true;
      return {
        choices: [{ text: isRight ? 'right' : 'wrong', token_ids: [7] }],
        ...(isStored ? {} : { kv_transfer_params: worker.prefill(body.prompt) }),
      };
    };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(await answer()));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

async function gatewayOf() {
  const worker = await StandInWorker.start('mock');
  const { url, seen } = await serverOf(worker);
  const store = await VllmKvStore.create({
    shape: shapeOf(worker.handshake),
    blockCount: 64,
    library: libraryOf('mock'),
  });
  onTestFinished(() => store.close());
  const gateway = await Gateway.start(store, url);
  onTestFinished(() => gateway.close());
  const post = async (body: object | string, path = '/v1/completions'): Promise<{ status: number; body: any }> => {
    const response = await fetch(`${gateway.url}${path}`, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  };
  return { gateway, store, seen, post };
}

describe('the gateway of the example kv-store', () => {
  it('stores the KV of a prompt, and has it decoded from the store later', async () => {
    const { store, seen, post } = await gatewayOf();
    const prompt = 'a prompt of 21 letters';
    const first = await post({ prompt });
    expect(first).toEqual({ status: 200, body: { choices: [{ text: 'right', token_ids: [7] }] } });
    expect(seen.at(-1)?.body).toMatchObject({ kv_transfer_params: { do_remote_decode: true }, return_token_ids: true });
    const second = await post({ prompt });
    expect(second).toEqual(first);
    expect(seen.at(-1)?.body.kv_transfer_params).toMatchObject({ do_remote_prefill: true, remote_num_tokens: 22 });
    await waitFor('the notification of the reader', () => store.statistics().endedOffers.read === 1);
    expect(store.statistics()).toMatchObject({ queries: 2, wholeHits: 1, keptBlocks: 3, openOffers: 0 });
    await post({ prompt, cache_salt: 'other' });
    expect(store.statistics()).toMatchObject({ queries: 3, wholeHits: 1 });
  });

  it.each<[string, object | string]>([
    ['kv_transfer_params', { prompt: [1, 2], kv_transfer_params: { do_remote_decode: true } }],
    ['vllm_xargs.kv_transfer_params', { prompt: [1, 2], vllm_xargs: { kv_transfer_params: 'x' } }],
    ['stream', { prompt: [1, 2], stream: true }],
    ['prompt', { prompt: [1, 0.5] }],
    ['prompt', {}],
    ['the body is not JSON', '{'],
    ['the body is not an object', '[]'],
  ])('refuses a request with 400 that names %s, before it reaches the worker', async (what, body) => {
    const { seen, post } = await gatewayOf();
    const { status, body: answer } = await post(body);
    expect(status).toBe(400);
    expect(answer.error.message).toContain(what);
    expect(seen).toEqual([]);
  });

  it('answers 404 for other paths', async () => {
    const { post } = await gatewayOf();
    expect((await post({}, '/v1/models')).status).toBe(404);
  });

  it('answers 502 if the worker is lost, and withdraws its offer', async () => {
    const { gateway, store, post } = await gatewayOf();
    await post({ prompt: 'a prompt of 21 letters' });
    const tokens = [...'a prompt of 21 letters'].map((letter) => letter.charCodeAt(0));
    gateway.worker = `http://127.0.0.1:${await freePort()}`;
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    onTestFinished(() => log.mockRestore());
    expect((await post({ prompt: tokens })).status).toBe(502);
    expect(store.statistics()).toMatchObject({ openOffers: 0, endedOffers: { withdrawn: 1 } });
  });
});
