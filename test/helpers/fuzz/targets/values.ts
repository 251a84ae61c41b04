import { isDeepStrictEqual } from 'node:util';

import { DynamoError, type Endpoint } from 'dynamo-node';
import { onTestFinished } from 'vitest';

import { testRuntime } from '../../runtime/runtime.js';
import { must } from '../expectations.js';
import type { FuzzTarget } from '../harness.js';
import { FuzzInput } from '../input.js';
import { sampleOf } from '../values.js';

interface Numbered {
  readonly id: number;
  readonly value: unknown;
}

/** Sends a value, and returns what arrives. */
type Direction = (value: unknown) => Promise<unknown>;

/** Serves and subscribes once, for the four directions in which a value may cross. */
async function directions(): Promise<readonly Direction[]> {
  const runtime = await testRuntime();
  const answers = new Map<number, unknown>();
  let last = 0;
  const place = runtime.namespace('fuzz').component('values');
  const connect = async (name: string, serve: (endpoint: Endpoint) => Promise<unknown>) => {
    const endpoint = place.endpoint(name);
    await serve(endpoint);
    const client = await endpoint.client();
    await client.waitForInstances();
    return client;
  };
  // A value in an array is data, also if it is a promise or an iterator.
  const echo = await connect('echo', (endpoint) => endpoint.serve((request) => request));
  const answer = await connect('answer', (endpoint) => endpoint.serve((id) => [answers.get(id as number)]));
  const items = await connect('items', (endpoint) =>
    endpoint.serveBidirectional(async function* (requests) {
      for await (const request of requests) yield request;
    }),
  );

  const arrivals = new Map<number, (value: unknown) => void>();
  const events = await place.subscribe<Numbered>('values');
  const publisher = await place.publisher<Numbered>('values');
  onTestFinished(() => publisher.close());
  void (async () => {
    for await (const { data } of events) arrivals.get(data.id)?.(data.value);
  })();
  const publish: Direction = async (value) => {
    const id = ++last;
    const arrived = new Promise((resolve) => arrivals.set(id, resolve));
    await publisher.publish({ id, value });
    return arrived.finally(() => arrivals.delete(id));
  };
  // Earlier events are lost until the subscriber has found the publisher.
  const found = new Promise((resolve) => arrivals.set(0, resolve));
  const timer = setInterval(() => void publisher.publish({ id: 0, value: null }), 50);
  await found;
  clearInterval(timer);

  return [
    async (value) => ((await echo.unary([value])) as unknown[])[0],
    async (value) => {
      const id = ++last;
      answers.set(id, value);
      return ((await answer.unary(id).finally(() => answers.delete(id))) as unknown[])[0];
    },
    async (value) => {
      for await (const item of items.bidirectional([[value]])) return (item as unknown[])[0];
      throw new Error('no item came back');
    },
    publish,
  ];
}

/** A value arrives as documented or is refused: a request, an answer, an item of a stream of requests, and an event. */
export const valuesTarget: FuzzTarget = {
  name: 'values',
  corpus: 'encode',
  concurrency: 8,
  open: async () => {
    const ways = await directions();
    return async (bytes) => {
      const input = new FuzzInput(bytes);
      const way = input.pick(ways);
      const { value, read, isRefused = false } = sampleOf(input);
      let got: unknown;
      try {
        got = await way(value);
      } catch (error) {
        // A handler's answer that cannot be sent is its own fault, not that of its caller.
        const code = ways.indexOf(way) === 1 ? 'DYN_INTERNAL' : 'DYN_INVALID_REQUEST';
        if (isRefused && DynamoError.is(error) && error.code === code) return;
        throw error;
      }
      must('a part that cannot be sent is refused', !isRefused);
      must('the reader gets the value', isDeepStrictEqual(got, read));
    };
  },
};
