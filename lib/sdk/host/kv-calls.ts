import type { ItemSource, StreamItem } from '../../addon/stream.js';
import { wrongType } from '../../check.js';
import { KvRouter } from '../../router/kv-router.js';
import type { Client } from '../../runtime/client.js';
import type { RequestOptions } from '../../runtime/client-options.js';
import type { Endpoint } from '../../runtime/endpoint.js';
import { ResponseStream } from '../../runtime/response.js';
import { ValueItem } from './value-source.js';

/** Reads from a stream that is opened by the first pull. */
class RoutedSource implements ItemSource {
  constructor(
    private readonly opened: Promise<ResponseStream<unknown>>,
    /** Called once, with the first item. */
    private begin: (() => Promise<void>) | undefined,
  ) {}

  async pull(): Promise<StreamItem[]> {
    const { done, value } = await (await this.opened).next();
    if (done === true) return [];
    const begin = this.begin;
    this.begin = undefined;
    await begin?.();
    return [new ValueItem(value)];
  }

  stop(): void {
    this.opened.then((stream) => stream.stop()).catch(() => {});
  }

  kill(): void {
    this.opened.then((stream) => stream.kill()).catch(() => {});
  }
}

type Tokens = Uint32Array | readonly number[];

function tokensOf(path: string, request: unknown): Tokens {
  const { token_ids: tokens } = (request ?? {}) as { readonly token_ids?: unknown };
  if (!(tokens instanceof Uint32Array) && !Array.isArray(tokens))
    wrongType(`${path} request.token_ids`, 'token ids for the mode kv', tokens);
  return tokens as Tokens;
}

/** Sends each request to the worker that has most of its prompt's blocks, and counts it in the load of that worker. */
export class KvCalls {
  private constructor(
    private readonly client: Client<unknown, unknown>,
    private readonly router: KvRouter,
  ) {}

  static async create(endpoint: Endpoint, client: Client<unknown, unknown>, blockSize: number): Promise<KvCalls> {
    return new KvCalls(client, await KvRouter.create(endpoint, { blockSize }));
  }

  /** @throws TypeError for a request without `token_ids` */
  generate(request: unknown, options: RequestOptions = {}): ResponseStream<unknown> {
    const { client, router } = this;
    if (options.instanceId !== undefined) return client.generate(request, options);
    const reserved = router.reserve({ tokens: tokensOf(client.path, request) });
    const opened = reserved.then(({ workerId }) => client.generate(request, { ...options, instanceId: workerId }));
    opened.catch(() => {});
    const source = new RoutedSource(opened, async () => router.prefillCompleted((await reserved).id));
    const free = (): void => void reserved.then(({ id }) => router.free(id)).catch(() => {});
    return new ResponseStream(source, (item) => item.unpack(), free, options.id).start();
  }

  close(): Promise<void> {
    return this.router.close();
  }
}
