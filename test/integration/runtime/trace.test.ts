import {
  type Client,
  type DistributedRuntime,
  type HttpFrontendOptions,
  type ProcessorFactory,
  type RequestContext,
  startLog,
} from 'dynamo-node';
import { beforeEach, describe, expect, it } from 'vitest';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`;
const deploy = deployments();

/** A chat with an engine through a frontend. Returns the headers that the engine sees. */
async function seenBehindFrontend(
  headers: Record<string, string>,
  options: HttpFrontendOptions = {},
): Promise<Readonly<Record<string, string>>> {
  const deployment = deploy();
  const engine = new CountingEngine('counting');
  await deployment.serve(engine);
  const frontend = await deployment.frontend(options);
  await frontend.waitForModel('counting');
  const response = await chat(frontend, { model: 'counting', max_tokens: 2 }, { headers });
  expect(response.status, await response.text()).toBe(200);
  return engine.seen.at(-1)?.metadata ?? {};
}

describe('the trace context of a client over HTTP', () => {
  it('reaches the engine unchanged, because the frontend exports no span', async () => {
    expect((await seenBehindFrontend({ traceparent: TRACEPARENT }))['traceparent']).toBe(TRACEPARENT);
  });

  it('reaches the engine and a custom processor', async () => {
    const seen: (string | undefined)[] = [];
    const processor: ProcessorFactory = () => ({
      async *process(_, context) {
        seen.push(context.traceparent);
        for await (const { finish_reason } of context.generate({
          token_ids: Uint32Array.of(1, 2, 3),
          stop_conditions: { max_tokens: 2 },
        })) {
          yield {
            choices: [
              { index: 0, delta: { content: 'x' }, finish_reason: finish_reason === undefined ? null : 'length' },
            ],
          };
        }
      },
    });
    expect((await seenBehindFrontend({ traceparent: TRACEPARENT }, { processor }))['traceparent']).toBe(TRACEPARENT);
    expect(seen).toEqual([TRACEPARENT]);
  });

  it('keeps the flag that it is not sampled', async () => {
    const traceparent = `00-${TRACE}-${SPAN}-00`;
    expect((await seenBehindFrontend({ traceparent }))['traceparent']).toBe(traceparent);
  });

  it.each<Record<string, string>>([
    {},
    { traceparent: '00-1-2-01' },
    { traceparent: `00-${'0'.repeat(32)}-${SPAN}-01` },
  ])('is undefined for the headers %o', async (headers) => {
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
    await client.waitForInstances({ timeoutMs: 30_000 });
    return client;
  }

  it('is passed unchanged from handler to handler', async () => {
    const first = await endpoint('first', await endpoint('second'));
    expect(await first.unary(null, { metadata: { traceparent: TRACEPARENT, tracestate: 'vendor=1' } })).toBe('last');
    expect(seen).toEqual(Array(2).fill({ traceparent: TRACEPARENT, tracestate: 'vendor=1' }));
  });

  it('is undefined without one', async () => {
    await (await endpoint('alone')).unary(null);
    expect(seen).toEqual([{ traceparent: undefined, tracestate: undefined }]);
  });

  it('stays unchanged in the metadata if it is not valid', async () => {
    await (await endpoint('alone')).unary(null, { metadata: { traceparent: 'nonsense' } });
    expect(seen).toEqual([{ traceparent: 'nonsense', tracestate: undefined }]);
  });
});

describe('the trace context of a client over HTTP, with spans', () => {
  // This test is the last, because the first log of a process fixes its filter. With it Dynamo's own spans lie between
  // those of a request.
  it('reaches the engine when all of the spans of Dynamo are logged', async () => {
    const log = startLog({ filter: 'trace', write: () => {} });
    try {
      expect((await seenBehindFrontend({ traceparent: TRACEPARENT }))['traceparent']).toBe(TRACEPARENT);
    } finally {
      log.close();
    }
  });
});
