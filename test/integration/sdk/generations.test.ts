import { DynamoError } from 'dynamo-node';
import { afterEach, describe, expect, it } from 'vitest';
import type { ItemSource } from '../../../lib/addon/stream.js';
import { ResponseStream } from '../../../lib/runtime/response.js';
import type { ConnectedEndpoint } from '../../../lib/sdk/host/endpoint-calls.js';
import { Generations } from '../../../lib/sdk/host/generations.js';
import { ValueItem } from '../../../lib/sdk/host/value-source.js';

const left = new DynamoError('Unavailable', 'no instances', { reason: 'request.unavailable' });

/** A stream of values, then an error if there is one. */
function streamOf(values: readonly unknown[], error?: Error): ResponseStream<unknown> {
  const rest = [...values];
  const source: ItemSource = {
    async pull() {
      if (rest.length > 0) return [new ValueItem(rest.shift())];
      if (error !== undefined) throw error;
      return [];
    },
    stop: () => {},
    kill: () => {},
  };
  return new ResponseStream(
    source,
    (item) => item.unpack(),
    () => {},
    undefined,
  ).start();
}

let open: Generations | undefined;
afterEach(() => open?.close());

/**
 * Two generations of which the first has all instances until it is called, and then none.
 *
 * @param answers the answer of each call, in their order
 */
async function generations(...answers: (() => unknown)[]): Promise<{ called: string[]; call: Generations['call'] }> {
  const called: string[] = [];
  const counts: Record<string, number> = { graph: 0, 'graph-old': 1, 'graph-new': 0 };
  const place = { component: 'worker', endpoint: 'generate' };
  const instances = async () => ['graph-old', 'graph-new'].map((namespace) => ({ ...place, namespace }));
  const connect = async (namespace: string): Promise<ConnectedEndpoint> =>
    ({
      client: { instances: () => Array.from({ length: counts[namespace] ?? 0 }, () => ({})) },
      call: () => {
        called.push(namespace);
        counts['graph-old'] = 0;
        counts['graph-new'] = 1;
        return answers[called.length - 1]?.();
      },
      close: async () => {},
    }) as unknown as ConnectedEndpoint;
  const scope = { kind: 'prefix', prefix: 'graph', isStrict: false } as const;
  open = await Generations.create({ instances } as never, scope, place, connect);
  return { called, call: open.call.bind(open) };
}

const collected = async (stream: unknown): Promise<unknown[]> => (stream as ResponseStream<unknown>).collect();

describe('a call of generations whose last worker has just left', () => {
  it('goes to another generation, for a value and for a stream', async () => {
    const unary = await generations(
      () => Promise.reject(left),
      () => Promise.resolve(7),
    );
    expect(await unary.call('x')).toBe(7);
    const stream = await generations(
      () => streamOf([], left),
      () => streamOf([1, 2]),
    );
    expect(await collected(stream.call('x'))).toEqual([1, 2]);
    for (const { called } of [unary, stream]) expect(called).toEqual(['graph-old', 'graph-new']);
  });

  it('is not sent again after its first item, after its end, or for another error', async () => {
    const later = await generations(() => streamOf([1], left));
    await expect(collected(later.call('x'))).rejects.toBe(left);
    const empty = await generations(() => streamOf([]));
    expect(await collected(empty.call('x'))).toEqual([]);
    const refused = await generations(() => streamOf([], new DynamoError('InvalidRequest', 'no')));
    await expect(collected(refused.call('x'))).rejects.toThrow('no');
    for (const { called } of [later, empty, refused]) expect(called).toEqual(['graph-old']);
  });

  it('fails with the second error if the other generation fails too', async () => {
    const second = new DynamoError('Unavailable', 'second');
    const both = await generations(
      () => streamOf([], left),
      () => streamOf([], second),
    );
    await expect(collected(both.call('x'))).rejects.toBe(second);
    expect(both.called).toEqual(['graph-old', 'graph-new']);
  });

  it('is not sent again when its signal is aborted', async () => {
    const one = await generations(() => streamOf([], left));
    await expect(collected(one.call('x', { signal: AbortSignal.abort() }))).rejects.toBe(left);
    expect(one.called).toEqual(['graph-old']);
  });
});
