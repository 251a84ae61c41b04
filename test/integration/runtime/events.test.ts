import type { Event, EventPublisher } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { testRuntime } from '../../helpers/runtime/runtime.js';

/** Publishes until the subscriber has found the publisher. Earlier events are lost, as the event plane documents. */
async function firstEvent<T>(
  publisher: EventPublisher<T>,
  events: AsyncIterator<Event<T>>,
  data: T,
): Promise<Event<T>> {
  const next = events.next();
  const timer = setInterval(() => void publisher.publish(data), 50);
  try {
    return (await next).value as Event<T>;
  } finally {
    clearInterval(timer);
  }
}

describe('events', () => {
  it.each(['namespace', 'component', 'endpoint'] as const)('reach the subscribers of their %s', async (level) => {
    const runtime = await testRuntime();
    const namespace = runtime.namespace('events');
    const component = namespace.component('worker');
    const place = { namespace, component, endpoint: component.endpoint('generate') }[level];
    const events = await place.subscribe<{ hash: bigint }>('blocks');
    const publisher = await place.publisher<{ hash: bigint }>('blocks');
    const first = await firstEvent(publisher, events, { hash: 2n ** 63n });
    expect(first).toMatchObject({ data: { hash: 2n ** 63n }, topic: 'blocks' });
    await publisher.publish({ hash: 2n ** 62n });
    let sequence = first.sequence;
    for await (const event of events) {
      expect(event.sequence).toBe(++sequence);
      if (event.data.hash === 2n ** 62n) break;
    }
    await publisher.close();
    await publisher.close();
    await expect(publisher.publish({ hash: 1n })).rejects.toMatchObject({ code: 'DYN_CLOSED' });
  });

  it('end with the loop of a subscription that waits', async () => {
    const runtime = await testRuntime();
    const events = await runtime.namespace('events').subscribe('nothing');
    const next = events.next();
    await events.return?.();
    expect(await next).toEqual({ done: true, value: undefined });
  });
});
