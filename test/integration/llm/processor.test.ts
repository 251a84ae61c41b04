import { type ChatChunk, DynamoError, type ProcessorContext, type ProcessorFactory } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments, serverSentEvents } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor, waitForPause } from '../../helpers/wait.js';

const deployment = deployments();

/** A tokenizer with one token per character: its code. */
const encode = (text: string): Uint32Array => Uint32Array.from([...text].map((char) => char.codePointAt(0) as number));
const chunk = (content: string, finish_reason: 'stop' | null = null): ChatChunk => ({
  choices: [{ index: 0, delta: { role: 'assistant', content }, finish_reason }],
});

/** Reports the tokens of its requests. */
const telling: ProcessorFactory = ({ name }) => ({
  async *process(request, context) {
    const text = String(request.messages.at(-1)?.content);
    const stop_conditions = { max_tokens: request.max_tokens ?? 4 };
    for await (const { token_ids, finish_reason } of context.generate({ token_ids: encode(text), stop_conditions })) {
      for (const id of token_ids) yield chunk(`${name}:${id} `);
      if (finish_reason !== undefined) yield chunk('', 'stop');
    }
  },
});

/** Returns the tokens of the prompt. */
class FixedAnswerEngine extends CountingEngine {
  override async *generate(
    request: Parameters<CountingEngine['generate']>[0],
    context: Parameters<CountingEngine['generate']>[1],
  ) {
    this.seen.push({ id: context.id, metadata: context.metadata });
    yield { token_ids: Array.from(request.token_ids) };
    yield { token_ids: [], finish_reason: 'stop' as const };
  }
}

describe('a processor', () => {
  it('processes requests between the client and the workers, streamed or not', async () => {
    const here = deployment();
    const engine = new FixedAnswerEngine('parrot');
    await here.serve(engine);
    const models: unknown[] = [];
    const frontend = await here.frontend({
      processor: (model) => {
        models.push(model);
        return telling(model);
      },
    });
    await frontend.waitForModel('parrot');
    expect(models).toEqual([
      {
        name: 'parrot',
        instance: { namespace: 'test', component: 'backend', endpoint: 'generate', instanceId: expect.any(BigInt) },
        card: expect.objectContaining({ display_name: 'parrot' }),
      },
    ]);
    const whole = await chat(frontend, { model: 'parrot', messages: [{ role: 'user', content: 'ab' }] });
    const { id, model, choices } = (await whole.json()) as {
      id: string;
      model: string;
      choices: { message: { content: string }; finish_reason: string }[];
    };
    expect({ model, content: choices[0]?.message.content, reason: choices[0]?.finish_reason }).toEqual({
      model: 'parrot',
      content: 'parrot:97 parrot:98 ',
      reason: 'stop',
    });
    expect(id).toBe(`chatcmpl-${engine.seen[0]?.id}`);
    const events = await serverSentEvents(
      await chat(frontend, { model: 'parrot', stream: true, messages: [{ role: 'user', content: 'é' }] }),
    );
    expect(events.at(-1)?.data).toBe('[DONE]');
    const contents = events.slice(0, -1).map(({ data }) => (JSON.parse(data) as ChatChunk).choices[0]?.delta.content);
    expect(contents.join('')).toBe('parrot:233 ');
  });

  it('updates the metrics of the frontend', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const frontend = await here.frontend({ processor: telling });
    await frontend.waitForModel('counting');
    await (await chat(frontend, { model: 'counting', max_tokens: 5, stream: true })).text();
    const counted = [
      /dynamo_frontend_input_sequence_tokens_sum\{model="counting"\} 11/,
      /dynamo_frontend_output_sequence_tokens_sum\{model="counting"\} 5/,
    ];
    await waitFor(
      'the counts',
      async () => (await fetch(`${frontend.url}/metrics`)).text(),
      (text) => counted.every((one) => one.test(text)),
    );
  });

  it.each([
    ['before the first chunk', 0],
    ['after a chunk', 1],
  ])('reports an error %s to the client', async (_when, chunks) => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const frontend = await here.frontend({
      processor: () => ({
        async *process() {
          for (let index = 0; index < chunks; index++) yield chunk('x');
          throw new DynamoError('InvalidRequest', 'for the log', {
            details: { type: 'message', message: 'not for me' },
          });
        },
      }),
    });
    await frontend.waitForModel('counting');
    const response = await chat(frontend, { model: 'counting' });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('not for me');
  });

  it("passes a worker's error to the client unchanged", async () => {
    const here = deployment();
    await here.serve({
      start: () => ({ model: 'failing' }),
      async *generate() {
        throw new DynamoError('RateLimited', 'slow down');
      },
    });
    const caught: unknown[] = [];
    const frontend = await here.frontend({
      processor: () => ({
        async *process(_request, context) {
          try {
            for await (const _ of context.generate({ token_ids: Uint32Array.of(1) })) yield chunk('x');
          } catch (error) {
            caught.push(error);
            throw error;
          }
        },
      }),
    });
    await frontend.waitForModel('failing');
    expect((await chat(frontend, { model: 'failing' })).status).toBe(429);
    expect(caught[0]).toMatchObject({ code: 'DYN_RATE_LIMITED' });
  });

  it('rejects an invalid request and an invalid chunk', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const wrong: { now: (context: ProcessorContext) => AsyncIterable<ChatChunk> } = {
      now: (context) => context.generate({ stop_conditions: {} } as never) as never,
    };
    const frontend = await here.frontend({ processor: () => ({ process: (_request, context) => wrong.now(context) }) });
    await frontend.waitForModel('counting');
    expect((await chat(frontend, { model: 'counting' })).status).toBe(400);
    wrong.now = async function* () {
      yield { choices: 'none' } as never;
    };
    expect((await chat(frontend, { model: 'counting' })).status).toBe(502);
  });

  it('is notified when a client disconnects, as its worker is', async () => {
    const here = deployment();
    const engine = new CountingEngine('counting', 5);
    const { worker } = await here.serve(engine);
    const ends: string[] = [];
    const frontend = await here.frontend({
      processor: (model) => {
        const { process } = telling(model) as { process: ReturnType<typeof Object.create> };
        return {
          async *process(request, context) {
            context.signal.addEventListener('abort', () => ends.push((context.signal.reason as { kind: string }).kind));
            try {
              yield* process(request, context);
            } finally {
              ends.push('returned');
            }
          },
        };
      },
    });
    await frontend.waitForModel('counting');
    const abort = new AbortController();
    const response = await chat(
      frontend,
      { model: 'counting', stream: true, max_tokens: 3000 },
      { signal: abort.signal },
    );
    await response.body?.getReader().read();
    abort.abort();
    await waitFor(
      'the processor',
      () => ends,
      (state) => state.length === 2,
    );
    expect(ends.sort()).toEqual(['killed', 'returned']);
    await waitFor(
      'the worker',
      () => worker.inFlight,
      (running) => running === 0,
    );
    await waitFor(
      'the abort',
      () => engine.aborted,
      (ids) => ids.length === 1,
    );
    expect(engine.aborted).toEqual([engine.seen[0]?.id]);
  });

  it('ends the generation when it leaves its loop', async () => {
    const here = deployment();
    const engine = new CountingEngine('counting', 5);
    const { worker } = await here.serve(engine);
    const frontend = await here.frontend({
      processor: () => ({
        async *process(_request, context) {
          for await (const _ of context.generate({
            token_ids: Uint32Array.of(1),
            stop_conditions: { max_tokens: 3000 },
          }))
            break;
          yield chunk('enough', 'stop');
        },
      }),
    });
    await frontend.waitForModel('counting');
    expect(await (await chat(frontend, { model: 'counting' })).text()).toContain('enough');
    await waitFor(
      'the worker',
      () => worker.inFlight,
      (running) => running === 0,
    );
  });

  it('waits for a client that does not read', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    let made = 0;
    const text = 'x'.repeat(64 * 1024);
    const frontend = await here.frontend({
      processor: () => ({
        async *process() {
          for (; made < 2000; made++) yield chunk(text);
          yield chunk('', 'stop');
        },
      }),
    });
    await frontend.waitForModel('counting');
    const abort = new AbortController();
    const response = await chat(frontend, { model: 'counting', stream: true }, { signal: abort.signal });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    await waitForPause('a pause', () => made);
    expect(made).toBeLessThan(1000);
    abort.abort();
  });

  it('is closed when its model has left', async () => {
    const here = deployment();
    const { worker } = await here.serve(new CountingEngine('counting'));
    let closed = 0;
    const frontend = await here.frontend({
      processor: (model) => ({ ...telling(model), close: () => void (closed += 1) }),
    });
    await frontend.waitForModel('counting');
    await worker.close();
    await waitFor(
      'the close',
      () => closed,
      (times) => times === 1,
    );
    expect(await frontend.models()).toEqual([]);
  });

  it('is closed with its frontend', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    let closed = 0;
    const frontend = await here.frontend({
      processor: (model) => ({ ...telling(model), close: () => void (closed += 1) }),
    });
    await frontend.waitForModel('counting');
    await frontend.close();
    await waitFor(
      'the close',
      () => closed,
      (times) => times > 0,
    );
    expect(closed).toBe(1);
  });

  it('hides its model if its factory fails', async () => {
    const here = deployment();
    let calls = 0;
    const frontend = await here.frontend({
      processor: () => {
        calls += 1;
        throw new Error('no tokenizer');
      },
    });
    await here.serve(new CountingEngine('counting'));
    await waitFor(
      'the question',
      () => calls,
      (times) => times > 0,
    );
    expect((await chat(frontend, { model: 'counting' })).status).toBe(404);
  });
});
