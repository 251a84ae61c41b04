import type { Service, ServiceContext } from 'dynamo-node/sdk';

/** The context of a service whose host is the test. */
export const contextOf = (fields: Partial<ServiceContext> = {}): ServiceContext => ({
  service: 'Test',
  namespace: 'dynamo',
  component: 'test',
  worker: 0,
  config: {},
  runtime: undefined as never,
  signal: new AbortController().signal,
  clients: {},
  ...fields,
});

/** What the endpoints of a service get as `self`. */
export async function selfOf(service: Service, context = contextOf()): Promise<unknown> {
  if (service.program.kind !== 'code') throw new Error(`expected a service of code, got ${service.program.kind}`);
  return service.program.create(context);
}

export async function itemsOf(stream: unknown): Promise<unknown[]> {
  const items: unknown[] = [];
  for await (const item of stream as AsyncIterable<unknown>) items.push(item);
  return items;
}
