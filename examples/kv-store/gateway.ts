import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KEEP_BLOCKS, stripTransferParams, type VllmKvStore } from 'dynamo-node/vllm';

/** Whether a `fetch` failed before it was connected. */
const isRefused = (error: unknown): boolean =>
  ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED';

const MAX_BODY_BYTES = 4 * 2 ** 20;

interface Completion {
  prompt?: unknown;
  stream?: unknown;
  cache_salt?: string;
  [field: string]: unknown;
}

interface Answer {
  readonly choices?: readonly { readonly token_ids?: readonly number[] }[];
  readonly kv_transfer_params?: unknown;
}

class Refusal extends Error {}

/**
 * OpenAI's completions before one vLLM worker, with a KV store. A prompt that the store knows is decoded from the
 * store; any other is computed, and its KV is stored. Clients cannot set parameters of a transfer.
 */
export class Gateway {
  private constructor(
    private readonly server: Server,
    private readonly store: VllmKvStore,
    /** The address of the worker's OpenAI server. */
    public worker: string,
  ) {}

  static async start(store: VllmKvStore, worker: string): Promise<Gateway> {
    const server = createServer();
    const gateway = new Gateway(server, store, worker);
    server.on('request', (request, response) => void gateway.#serve(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const send = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    try {
      if (request.method !== 'POST' || request.url !== '/v1/completions')
        return send(404, { error: { message: 'expected POST /v1/completions' } });
      const body = await bodyOf(request);
      const [place] = stripTransferParams(body);
      if (place !== undefined) throw new Refusal(`${place}: clients cannot set it`);
      if (body.stream) throw new Refusal('stream: this gateway does not stream');
      const { status, answer } = await this.#complete(body);
      send(status, answer);
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(error);
      const message = error instanceof Refusal ? error.message : 'the worker does not answer';
      send(error instanceof Refusal ? 400 : 502, { error: { message } });
    }
  }

  async #complete(body: Completion): Promise<{ status: number; answer: object }> {
    const tokens = await this.#tokensOf(body.prompt);
    const identity = body.cache_salt === undefined ? {} : { salt: body.cache_salt };
    const offer = await this.store.offer(tokens, identity);
    let response: Response;
    try {
      response = await this.#post('/v1/completions', {
        ...body,
        prompt: tokens,
        return_token_ids: true,
        kv_transfer_params: offer?.params ?? KEEP_BLOCKS,
      });
    } catch (error) {
      // Only then no worker has the request. One that has it may be reading, so the lease ends the offer.
      if (isRefused(error)) offer?.withdraw();
      throw error;
    }
    const { kv_transfer_params: params, ...answer } = (await response.json()) as Answer;
    if (params) {
      const all = [...tokens, ...(answer.choices?.[0]?.token_ids ?? [])];
      // The client has its answer, even if the store has not the blocks.
      await this.store
        .keep(all, params, identity)
        .catch((error: Error) => console.error(`not stored: ${error.message}`));
    }
    return { status: response.status, answer };
  }

  async #tokensOf(prompt: unknown): Promise<number[]> {
    if (Array.isArray(prompt) && prompt.every((token) => Number.isInteger(token) && token >= 0)) return prompt;
    if (typeof prompt !== 'string') throw new Refusal('prompt: expected a text, or a list of tokens');
    const response = await this.#post('/tokenize', { prompt });
    return ((await response.json()) as { tokens: number[] }).tokens;
  }

  /** vLLM closes idle connections after 5 s, so each request has its own. */
  #post(path: string, body: object): Promise<Response> {
    return fetch(`${this.worker}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify(body),
    });
  }

  async close(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }
}

async function bodyOf(request: IncomingMessage): Promise<Completion> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Refusal(`the body is longer than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  let body: unknown;
  try {
    body = JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw new Refusal('the body is not JSON');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new Refusal('the body is not an object');
  return body as Completion;
}
