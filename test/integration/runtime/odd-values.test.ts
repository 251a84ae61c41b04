import { type Client, DistributedRuntime, DynamoError, type Handler, type HandlerResult } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { pack, unpack } from '../../../lib/addon/codec.js';
import { Inbox } from '../../../lib/addon/inbox.js';
import { invoke, native } from '../../../lib/addon/invoke.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

/** Arrays in arrays, deeper than this package reads or writes. The transport forwards them. */
const TOO_DEEP = Buffer.concat([Buffer.alloc(600, 0x91), Buffer.from([0xc0])]);

/** The warnings with a code, from now until the end of the test. */
function warnings(code: string): string[] {
  const seen: string[] = [];
  const note = (warning: Error): void => {
    if ((warning as { code?: string }).code === code) seen.push(warning.message);
  };
  process.on('warning', note);
  onTestFinished(() => void process.off('warning', note));
  return seen;
}

async function connected<Request, Response>(
  serve: (endpoint: ReturnType<DistributedRuntime['endpoint']>) => Promise<unknown>,
): Promise<Client<Request, Response>> {
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint('test.odd.values');
  await serve(endpoint);
  const client = await endpoint.client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client as Client<Request, Response>;
}

const served = (handler: Handler<never, unknown>) =>
  connected<unknown, unknown>((endpoint) => endpoint.serve(handler as Handler<unknown, unknown>));

const broken = new Error('no more paper');

describe('a bidirectional call with an item that cannot be sent', () => {
  it.each([
    ['a function', () => ({ a: [1, () => {}] }), /requests\[N\] cannot be sent: a\[1\]: a function cannot be sent/],
    ['too large', () => new Uint8Array(40 << 20), /requests\[N\] has \d+ bytes packed/],
    ['rejected', () => Promise.reject(broken), /^no more paper$/],
  ])('names the item, and its handler sees an error: %s', async (_, bad, message) => {
    const ends: string[] = [];
    const client = await connected<unknown, unknown>((endpoint) =>
      endpoint.serveBidirectional(async function* (requests) {
        ends.push('started');
        try {
          for await (const request of requests) yield request;
          ends.push('whole');
        } catch {
          ends.push('error');
          throw new Error('the request is not whole');
        } finally {
          ends.push('left');
        }
      }),
    );
    for (const position of [0, 1, 5]) {
      let returned = false;
      const requests = async function* (): AsyncGenerator<unknown> {
        try {
          for (let index = 0; index < position; index++) yield index;
          yield await bad();
          yield 'after';
        } finally {
          returned = true;
        }
      };
      const error = (await client
        .bidirectional(requests())
        .collect()
        .catch((caught: unknown) => caught)) as Error;
      expect(error.message).toMatch(new RegExp(message.source.replace('N', String(position))));
      await waitFor('the requests', () => returned);
    }
    const count = (what: string) => ends.filter((end) => end === what).length;
    // A handler that waits at its `yield` is returned; it leaves without an error.
    await waitFor(
      'the end of the handlers that have started',
      () => [count('started'), count('left')],
      ([started, left]) => started === left,
    );
    expect(ends).not.toContain('whole');
  });
});

describe('a handler', () => {
  const thenable = (value: unknown) => ({ then: (resolve: (value: unknown) => void) => resolve(value) });

  it.each<[string, () => HandlerResult<unknown>]>([
    [
      'a generator',
      function* () {
        yield Promise.resolve(1);
        yield thenable(2);
        yield 3;
      },
    ],
    [
      'an iterator of its own',
      () => {
        const items = [Promise.resolve(1), thenable(2), 3];
        const iterator = {
          next: async () => ({ done: items.length === 0, value: items.shift() }),
          [Symbol.asyncIterator]: () => iterator,
        };
        return iterator as AsyncIterable<unknown>;
      },
    ],
  ])('that yields promises and thenables sends their values: %s', async (_, handler) => {
    const client = await served(handler);
    expect(await client.collect(null)).toEqual([1, 2, 3]);
  });

  it('that yields a promise that rejects sends its error, and its generator is left', async () => {
    let left = false;
    const client = await served(function* () {
      try {
        yield 1;
        yield Promise.reject(broken);
        yield 3;
      } finally {
        left = true;
      }
    });
    const stream = client.generate(null);
    expect(await stream.next()).toEqual({ done: false, value: 1 });
    await expect(stream.next()).rejects.toThrow('no more paper');
    await waitFor('the generator', () => left);
  });
});

describe('bytes that cannot be read', () => {
  it('fail a request with DYN_INVALID_REQUEST, and the handler is not called', async () => {
    let calls = 0;
    const client = await served((request) => {
      calls += 1;
      return request;
    });
    const handle = (client as unknown as { handle(operation: string): never }).handle('test');
    const send = async (payload: Uint8Array): Promise<unknown> =>
      invoke(native.clientUnary, 'test', { handle, payload });
    const text = Buffer.from((await send(TOO_DEEP)) as Uint8Array).toString('latin1');
    expect(text).toContain('InvalidRequest');
    expect(text).toContain('nested deeper than 512 levels');
    expect(calls).toBe(0);
    expect(await client.unary('next')).toBe('next');
  });

  it('in an item of an answer fail that call alone', async () => {
    const client = await connected<string, unknown>(async (endpoint) => {
      const handle = endpoint.handle('test');
      const [, serving, inbox] = await invoke(native.endpointServe, 'test', {
        handle,
        args: pack({ metricsLabels: [] }),
      });
      const host = new Inbox(
        inbox,
        {
          request: async ({ payload, sink }) => {
            await sink.write(pack('first'));
            await sink.write(unpack(payload) === 'odd' ? TOO_DEEP : pack('second'));
            sink.end();
          },
          lost: () => {},
        },
        { concurrency: 8 },
      );
      onTestFinished(async () => {
        await invoke(native.servedClose, 'test', { handle: serving });
        await host.ended;
      });
    });
    const odd = client.generate('odd');
    const plain = client.generate('plain');
    expect((await odd.next()).value).toBe('first');
    await expect(odd.next()).rejects.toMatchObject({ code: 'DYN_INVALID_REQUEST' });
    expect(await odd.next()).toEqual({ done: true, value: undefined });
    expect(await plain.collect()).toEqual(['first', 'second']);
    await expect(client.collect('odd')).rejects.toBeInstanceOf(DynamoError);
  });

  it('in an event are skipped, counted and reported once', async () => {
    const reports = warnings('DYN_EVENT_SKIPPED');
    const folder = temporaryFolder();
    const [one, other] = await Promise.all(
      [0, 1].map(() => DistributedRuntime.create({ discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' })),
    );
    onTestFinished(async () => {
      await Promise.all([one!.close(), other!.close()]);
    });
    const events = await one!.namespace('odd').subscribe<string>('load');
    expect(events.skipped).toBe(0);
    const publisher = await other!.namespace('odd').publisher<string>('load');
    const handle = (publisher as unknown as { handle(operation: string): never }).handle('test');
    const odd = (): Promise<unknown> => invoke(native.publisherPublish, 'test', { handle, payload: TOO_DEEP });
    let first: string | undefined;
    const reading = (async () => {
      for await (const { data } of events) {
        if (first === undefined) first = data;
        else if (data === 'last') return data;
      }
      return undefined;
    })();
    await waitFor('the subscription', async () => (await publisher.publish('first'), first));
    await odd();
    await odd();
    await publisher.publish('last');
    expect(await reading).toBe('last');
    expect(events.skipped).toBe(2);
    await waitFor('the report', () => reports.length > 0);
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatch(/topic load: an event of publisher \d+ was skipped: .*nested deeper/);
  });
});
