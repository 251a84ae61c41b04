import {
  type BidirectionalHandler,
  type Client,
  DynamoError,
  type RequestCancelled,
  type RequestContext,
  type ServeOptions,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor, waitForPause } from '../../helpers/wait.js';

/** Requests that a test sends one by one, and their state. */
class Requests<T> implements AsyncIterableIterator<T> {
  readonly #items: T[] = [];
  #ended = false;
  #wake: (() => void) | undefined;
  /** Whether the reader has returned the iterator. */
  returned = false;

  send(...items: T[]): void {
    this.#items.push(...items);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<T>> {
    while (this.#items.length === 0) {
      if (this.#ended || this.returned) return { done: true, value: undefined };
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return { done: false, value: this.#items.shift() as T };
  }

  async return(): Promise<IteratorResult<T>> {
    this.returned = true;
    this.#wake?.();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

interface Observed {
  context: RequestContext | undefined;
  /** Whether the handler has ended, by itself or by cancellation. */
  ended: boolean;
  read: number;
}

/** An endpoint that returns each received item, and its state. */
async function echo(): Promise<{ client: Client<number, number>; observed: Observed }> {
  const observed: Observed = { context: undefined, ended: false, read: 0 };
  const client = await served<number, number>(async function* (requests, context) {
    observed.context = context;
    try {
      for await (const request of requests) {
        observed.read += 1;
        yield request;
      }
    } finally {
      observed.ended = true;
    }
  });
  return { client, observed };
}

async function served<Request, Response>(
  handler: BidirectionalHandler<Request, Response>,
  options: ServeOptions<Request> = {},
): Promise<Client<Request, Response>> {
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint<Request, Response>('test.worker.both');
  await endpoint.serveBidirectional(handler, options);
  const client = await endpoint.client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client;
}

/** A call in flight, after one item in each direction. */
async function begun(
  client: Client<number, number>,
  options: Parameters<Client<number, number>['bidirectional']>[1] = {},
) {
  const requests = new Requests<number>();
  const stream = client.bidirectional(requests, options);
  requests.send(1);
  expect(await stream.next()).toEqual({ done: false, value: 1 });
  return { requests, stream };
}

/** How a handler ended: by its signal, or by the end of its requests. A cancel causes both, in either order. */
const end = ({ context, ended }: Observed): string | undefined =>
  ended ? ((context?.signal.reason as RequestCancelled | undefined)?.kind ?? 'by itself') : undefined;

describe('a bidirectional call', () => {
  it('is a conversation in which each side answers the other', async () => {
    const { client, observed } = await echo();
    const { requests, stream } = await begun(client);
    for (let index = 2; index < 200; index++) {
      requests.send(index);
      expect((await stream.next()).value).toBe(index);
    }
    requests.end();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await waitFor('the handler', () => observed.ended);
    expect(observed.context?.signal.aborted).toBe(false);
  });

  it('passes id, metadata and trace context to the handler', async () => {
    const { client, observed } = await echo();
    const { requests } = await begun(client, {
      id: 'call-1',
      metadata: { tenant: 'žluť', traceparent: '00-1-2-01', tracestate: 'x=1' },
    });
    expect(observed.context).toMatchObject({
      id: 'call-1',
      metadata: { tenant: 'žluť' },
      traceparent: '00-1-2-01',
      tracestate: 'x=1',
    });
    requests.end();
  });

  it('ends with its signal before, during and after the call, together with the handler and the requests', async () => {
    const { client, observed } = await echo();
    const reason = new Error('enough');
    const never = new Requests<number>();
    never.send(1);
    await expect(client.bidirectional(never, { signal: AbortSignal.abort(reason) }).collect()).rejects.toBe(reason);
    expect((await never.next()).value, 'nobody has asked for it').toBe(1);
    const controller = new AbortController();
    const { requests, stream } = await begun(client, { signal: controller.signal });
    const reading = stream.next();
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await waitFor('the requests', () => requests.returned);
    expect(await waitFor('the handler', () => end(observed))).toMatch(/killed|stopped|by itself/);
    const over = new AbortController();
    const whole = await begun(client, { signal: over.signal });
    whole.requests.end();
    expect(await whole.stream.collect()).toEqual([]);
    over.abort(reason);
    expect(await whole.stream.next()).toEqual({ done: true, value: undefined });
  });

  it('ends after timeoutMs', async () => {
    const { client, observed } = await echo();
    const requests = new Requests<number>();
    const stream = client.bidirectional(requests, { timeoutMs: 300 });
    await expect(stream.collect()).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      operation: 'client.bidirectional',
      message: expect.stringContaining('300 ms'),
    });
    await waitFor('the requests', () => requests.returned);
    await waitFor('the handler', () => observed.context === undefined || observed.ended);
  });

  it('ends when its caller leaves the loop or stops the handler', async () => {
    for (const leave of ['left', 'stopped'] as const) {
      const { client, observed } = await echo();
      const { requests, stream } = await begun(client);
      if (leave === 'left') await stream.return();
      else stream.stop();
      expect(await stream.next()).toEqual({ done: true, value: undefined });
      await waitFor('the requests', () => requests.returned);
      expect(await waitFor('the handler', () => end(observed))).toMatch(
        leave === 'left' ? /killed|stopped|by itself/ : /stopped|by itself/,
      );
    }
  });

  it('ends with the requests when the handler returns before it has read all', async () => {
    const client = await served<number, number>(async function* (requests) {
      for await (const request of requests) {
        yield request;
        return;
      }
    });
    const { requests, stream } = await begun(client);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await waitFor('the requests', () => requests.returned);
  });

  it('fails with the error of the handler', async () => {
    const client = await served<number, number>(async function* (requests) {
      for await (const request of requests) {
        if (request === 2) throw new DynamoError('Conflict', 'two is taken', { reason: 'request.conflict' });
        yield request;
      }
    });
    const { requests, stream } = await begun(client);
    requests.send(2);
    await expect(stream.next()).rejects.toMatchObject({ code: 'DYN_CONFLICT', message: 'two is taken' });
    await waitFor('the requests', () => requests.returned);
  });

  it('delivers everything that was sent before its end, even to a late reader', async () => {
    let [sent, mayRead] = [false, (): void => {}];
    const reading = new Promise<void>((resolve) => (mayRead = resolve));
    const client = await served<Uint8Array, number>(async function* (requests, { signal }) {
      await reading;
      let count = 0;
      for await (const _ of requests) count += 1;
      yield signal.aborted ? -1 : count;
    });
    for (const slowly of [true, false]) {
      sent = false;
      const requests = async function* (): AsyncGenerator<Uint8Array> {
        for (let index = 0; index < 300; index++) yield new Uint8Array(100);
        sent = true;
      };
      const answers = client.bidirectional(requests()).collect();
      await waitFor('the last request', () => sent);
      if (slowly) await new Promise((resolve) => setTimeout(resolve, 500));
      mayRead();
      expect(await answers).toEqual([300]);
    }
  });

  it('accepts requests in an array', async () => {
    const { client } = await echo();
    expect(await client.bidirectional([1, 2, 3]).collect()).toEqual([1, 2, 3]);
  });

  it.each(['a stop', 'the close of the endpoint'])(
    'fails the requests of a handler that waits for them at %s',
    async (cause) => {
      const runtime = await testRuntime();
      const endpoint = runtime.endpoint<number, number>('test.worker.waits');
      const ends: unknown[] = [];
      const serving = await endpoint.serveBidirectional(async function* (requests) {
        yield 0;
        try {
          for await (const _ of requests);
          ends.push('whole');
        } catch (error) {
          ends.push(error);
          throw error;
        }
      });
      const client = await endpoint.client();
      await client.waitForInstances({ timeoutMs: 30_000 });
      const requests = new Requests<number>();
      const stream = client.bidirectional(requests);
      expect((await stream.next()).value).toBe(0);
      if (cause === 'a stop') stream.stop();
      else {
        const rest = stream.collect();
        await Promise.all([
          serving.close({ timeoutMs: 10 }),
          expect(rest).rejects.toMatchObject({ code: 'DYN_CANCELLED' }),
        ]);
      }
      await waitFor('the handler', () => ends.length > 0);
      expect(ends).toEqual([expect.objectContaining({ kind: cause === 'a stop' ? 'stopped' : 'shutdown' })]);
    },
  );

  it.each(['aborted', 'late', 'broken'])('does not look complete to its handler if it is %s in flight', async (how) => {
    const whole: boolean[] = [];
    let over = 0;
    const client = await served<number, number>(async function* (requests) {
      yield 0;
      try {
        for await (const _ of requests);
        whole.push(true);
      } finally {
        over += 1;
      }
    });
    let underWay = 0;
    for (let round = 0; round < 20; round++) {
      const controller = new AbortController();
      let begin = (): void => {};
      const begun = new Promise<void>((resolve) => (begin = resolve));
      const requests = async function* (): AsyncGenerator<number> {
        yield 1;
        await begun;
        await new Promise((resolve) => setTimeout(resolve, 20 + round));
        if (how === 'broken') throw new Error('no more paper');
        await new Promise(() => {});
      };
      const stream = client.bidirectional(
        requests(),
        how === 'late' ? { timeoutMs: 400 + round } : { signal: controller.signal },
      );
      const first = await stream.next().catch((error: DynamoError) => error);
      // On a loaded machine the time may be over before the call is in flight.
      if (how === 'late' && first instanceof DynamoError && first.code === 'DYN_DEADLINE_EXCEEDED') continue;
      expect(first).toMatchObject({ value: 0 });
      underWay += 1;
      begin();
      if (how === 'aborted') setTimeout(() => controller.abort(new Error('enough')), round);
      await expect(stream.collect()).rejects.toThrow();
    }
    await waitFor(
      'the handlers',
      () => over,
      (count) => count >= underWay,
    );
    expect(underWay).toBeGreaterThan(0);
    expect(whole).not.toContain(true);
  });

  it('fails with the error of its own requests, and the handler sees their end', async () => {
    const { client, observed } = await echo();
    const broken = new Error('no more paper');
    async function* requests(): AsyncGenerator<number> {
      yield 1;
      yield 2;
      throw broken;
    }
    const seen: number[] = [];
    const read = (async () => {
      for await (const item of client.bidirectional(requests())) seen.push(item);
    })();
    await expect(read).rejects.toBe(broken);
    expect([[], [1], [1, 2]]).toContainEqual(seen);
    await waitFor('the handler', () => observed.context === undefined || observed.ended);
  });

  it('applies back-pressure in both directions', async () => {
    const [ITEM, COUNT, MOST_AHEAD] = [new Uint8Array(64 * 1024), 3000, 1000];
    let [sent, read, yielded, mayRead, over] = [0, 0, 0, (): void => {}, (): void => {}];
    const reading = new Promise<void>((resolve) => (mayRead = resolve));
    const done = new Promise<void>((resolve) => (over = resolve));
    const client = await served<Uint8Array, Uint8Array>(
      async function* (requests) {
        await reading;
        for await (const _ of requests) {
          if (++read === COUNT) for (; yielded < COUNT; yielded++) yield ITEM;
        }
      },
      { highWaterBytes: ITEM.byteLength },
    );
    async function* items(): AsyncGenerator<Uint8Array> {
      for (; sent < COUNT; sent++) yield ITEM;
      await done;
    }
    const stream = client.bidirectional(items());
    // A sink keeps 16 items, the transport two queues of 64 frames, the sockets up to 30 MiB.
    expect(await waitForPause('the caller', () => sent)).toBeLessThan(MOST_AHEAD);
    mayRead();
    await waitFor(
      'the requests',
      () => read,
      (count) => count === COUNT,
      20_000,
    );
    expect(await waitForPause('the handler', () => yielded)).toBeLessThan(MOST_AHEAD);
    for (let index = 0; index < COUNT; index++) expect((await stream.next()).value).toHaveLength(ITEM.byteLength);
    over();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });
});

describe('the worker of a bidirectional call', () => {
  const path = 'test.leaving.both';
  async function apart() {
    const dir = temporaryFolder();
    const worker = Child.program('test/helpers/runtime/programs/echo.ts', [dir, path]);
    onTestFinished(() => worker.stop());
    await worker.event('ready');
    const runtime = await testRuntime({ discovery: { kind: 'file', dir } });
    const client = await runtime.endpoint<number, number>(path).client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    return { worker, client, ...(await begun(client)) };
  }

  it('causes a typed error of its caller when killed, and the caller stops sending', async () => {
    const { worker, requests, stream } = await apart();
    worker.kill('SIGKILL');
    await expect(stream.next()).rejects.toMatchObject({
      name: 'DynamoError',
      code: 'DYN_UNAVAILABLE',
      retryable: true,
    });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await waitFor('the requests', () => requests.returned);
  });

  it('lets the conversation end when it leaves', async () => {
    const { worker, client, requests, stream } = await apart();
    worker.kill('SIGTERM');
    await waitFor(
      'its leave',
      () => client.instances(),
      ({ length }) => length === 0,
      20_000,
    );
    for (let index = 2; index < 20; index++) {
      requests.send(index);
      expect((await stream.next()).value).toBe(index);
    }
    requests.end();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(await worker.exit()).toMatchObject({ code: 0 });
  });

  it('notifies its handler and its caller when its time is over', async () => {
    const observed: Observed = { context: undefined, ended: false, read: 0 };
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<number, number>('test.closing.both');
    const serving = await endpoint.serveBidirectional(async function* (requests, context) {
      observed.context = context;
      try {
        for await (const request of requests) yield request;
      } finally {
        observed.ended = true;
      }
    });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const { requests, stream } = await begun(client);
    const rest = expect(stream.collect()).rejects.toMatchObject({ code: 'DYN_CANCELLED' });
    await serving.close({ timeoutMs: 50 });
    await waitFor(
      'the end of the handler',
      () => end(observed),
      (how) => how === 'shutdown',
    );
    await rest;
    await waitFor('the requests', () => requests.returned);
  });
});
