import { beforeEach, describe, expect, it } from 'vitest';
import {
  type Client,
  type DistributedRuntime,
  type HttpFrontendOptions,
  openLog,
  type ProcessorFactory,
  type RequestContext,
} from '../../../lib/index.js';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`;
const deploy = deployments();

/** A chat with an engine behind a frontend: what the engine sees of the headers. */
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
  it('reaches the engine as it came: the frontend exports no span that could stand between', async () => {
    expect((await seenBehindFrontend({ traceparent: TRACEPARENT }))['traceparent']).toBe(TRACEPARENT);
  });

  it('reaches the engine past a processor of the host’s, which sees it too', async () => {
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

  it('keeps that it is not sampled', async () => {
    const traceparent = `00-${TRACE}-${SPAN}-00`;
    expect((await seenBehindFrontend({ traceparent }))['traceparent']).toBe(traceparent);
  });

  it.each<Record<string, string>>([
    {},
    { traceparent: '00-1-2-01' },
    { traceparent: `00-${'0'.repeat(32)}-${SPAN}-01` },
  ])('is none where it is none: %o', async (headers) => {
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

  it('is passed on as it came from handler to handler', async () => {
    const first = await endpoint('first', await endpoint('second'));
    expect(await first.unary(null, { metadata: { traceparent: TRACEPARENT, tracestate: 'vendor=1' } })).toBe('last');
    expect(seen).toEqual(Array(2).fill({ traceparent: TRACEPARENT, tracestate: 'vendor=1' }));
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

// The last test here: the first log of a process fixes its filter, and with it spans of Dynamo's own lie between those of a request.
it('the trace context of a client over HTTP reaches the engine when all of Dynamo’s spans are logged', async () => {
  const log = openLog({ filter: 'trace', write: () => {} });
  try {
    expect((await seenBehindFrontend({ traceparent: TRACEPARENT }))['traceparent']).toBe(TRACEPARENT);
  } finally {
    log.close();
  }
});
