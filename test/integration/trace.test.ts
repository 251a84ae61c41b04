import { beforeEach, describe, expect, it } from 'vitest';
import { type Client, type DistributedRuntime, openLog, type RequestContext } from '../../lib/index.js';
import { CountingEngine } from '../helpers/engines.js';
import { chat, deployments } from '../helpers/serving.js';
import { testRuntime } from '../helpers/runtime.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`;
const deploy = deployments();

/** A chat with an engine behind a frontend: what the engine sees of the headers. */
async function seenBehindFrontend(headers: Record<string, string>): Promise<Readonly<Record<string, string>>> {
  const deployment = deploy();
  const engine = new CountingEngine('counting');
  await deployment.serve(engine);
  const frontend = await deployment.frontend();
  await frontend.waitForModel('counting');
  const response = await chat(frontend, { model: 'counting', max_tokens: 2 }, { headers });
  expect(response.status, await response.text()).toBe(200);
  return engine.seen.at(-1)?.metadata ?? {};
}

describe('the trace context of a client over HTTP', () => {
  it('reaches the engine as it came: the frontend exports no span that could stand between', async () => {
    expect((await seenBehindFrontend({ traceparent: TRACEPARENT }))['traceparent']).toBe(TRACEPARENT);
  });

  it('keeps that it is not sampled', async () => {
    const traceparent = `00-${TRACE}-${SPAN}-00`;
    expect((await seenBehindFrontend({ traceparent }))['traceparent']).toBe(traceparent);
  });

  it.each<Record<string, string>>([{}, { traceparent: '00-1-2-01' }, { traceparent: `00-${'0'.repeat(32)}-${SPAN}-01` }])('is none where it is none: %o', async (headers) => {
    expect(await seenBehindFrontend(headers)).not.toHaveProperty('traceparent');
  });
});

describe('the trace context of a call', () => {
  let runtime: DistributedRuntime;
  const seen: Pick<RequestContext, 'traceparent' | 'tracestate'>[] = [];

  beforeEach(async () => {
    runtime = await testRuntime();
    seen.length = 0;
  });

  async function endpoint(name: string, next?: Client): Promise<Client> {
    const made = runtime.endpoint(`test.trace.${name}`);
    await made.serve(async (_: unknown, { traceparent, tracestate }) => {
      seen.push({ traceparent, tracestate });
      return next === undefined ? 'last' : next.unary(null);
    });
    const client = await made.client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    return client;
  }

  it.each(['off', 'trace'])('is passed on as it came from handler to handler, with a log of level %s', async (level) => {
    // The first log of a process fixes its filter; with a log the spans of Dynamo's own are between those of the request.
    const log = level === 'off' ? undefined : openLog({ filter: 'info', write: () => {} });
    try {
      const first = await endpoint('first', await endpoint('second'));
      expect(await first.unary(null, { metadata: { traceparent: TRACEPARENT, tracestate: 'vendor=1' } })).toBe('last');
      expect(seen).toEqual(Array(2).fill({ traceparent: TRACEPARENT, tracestate: 'vendor=1' }));
    } finally {
      log?.close();
    }
  });

  it('is undefined without one', async () => {
    await (await endpoint('alone')).unary(null);
    expect(seen).toEqual([{ traceparent: undefined, tracestate: undefined }]);
  });

  it('that is none stays in the metadata, as it came', async () => {
    await (await endpoint('alone')).unary(null, { metadata: { traceparent: 'nonsense' } });
    expect(seen).toEqual([{ traceparent: 'nonsense', tracestate: undefined }]);
  });
});
