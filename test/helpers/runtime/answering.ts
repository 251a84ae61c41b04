import { type Client, DistributedRuntime, type Endpoint, type ServedEndpoint } from 'dynamo-node';

export type Answer = (request: never, context: { signal: AbortSignal }) => unknown;

export const echo: Answer = (request) => request;

export const throws = (): never => {
  throw new Error('a trap');
};

/** An object that refers to itself. */
export const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;

/** A worker and its client in this process. Its `close` also returns the rejections that nothing handled. */
export interface AnsweringWorker {
  /** The action of its handler, which a test replaces. */
  answer: Answer;
  readonly runtime: DistributedRuntime;
  readonly endpoint: Endpoint<unknown, unknown>;
  readonly served: ServedEndpoint;
  readonly client: Client<unknown, unknown>;
  close(): Promise<readonly unknown[]>;
}

export async function answeringWorker(): Promise<AnsweringWorker> {
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note);
  const local = '127.0.0.1';
  const runtime = await DistributedRuntime.create({
    discovery: { kind: 'mem' },
    host: local,
    systemPort: 0,
    systemHost: local,
  });
  const endpoint = runtime.endpoint('bad.worker.generate');
  const handler: Answer = (request, context) => worker.answer(request, context);
  const served = await endpoint.serve(handler as never);
  const client = await endpoint.client();
  await client.waitForInstances({ timeoutMs: 5000 });
  const worker: AnsweringWorker = {
    ...{ answer: echo, runtime, endpoint, served, client },
    async close() {
      await runtime.close({ timeoutMs: 5000 });
      process.off('unhandledRejection', note);
      return unhandled;
    },
  };
  return worker;
}
