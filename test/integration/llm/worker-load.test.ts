import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { LLMEngine, LLMEngineOutput } from '../../../lib/index.js';
import { chat, type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { Parrot } from '../../helpers/llm/echo-engine.js';
import { HeldEngine } from '../../helpers/llm/engines.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor, waitForPause } from '../../helpers/wait.js';

const made = deployments();
const deployment = () => made({ systemPort: 0, systemHost: '127.0.0.1' });

/** A client of the worker itself: no frontend holds anything back, and requests are as a frontend makes them. */
async function clientOf(here: Deployment) {
  const client = await (await here.runtime()).endpoint<object, LLMEngineOutput>('test.backend.generate').client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client;
}

const request = {
  model: 'held',
  token_ids: [1, 2, 3],
  stop_conditions: { max_tokens: 100_000 },
  sampling_options: {},
  output_options: {},
  eos_token_ids: [],
  annotations: [],
};

describe('concurrency of serveEngine', () => {
  it('is how many requests run at a time; the others wait, and all are answered', async () => {
    const here = deployment();
    const engine = new HeldEngine('held');
    const { worker } = await here.serve(engine, { concurrency: 3 });
    const client = await clientOf(here);
    const answers = Promise.all(Array.from({ length: 20 }, () => client.collect(request)));
    await waitFor(
      'three',
      () => engine.running,
      (running) => running === 3,
    );
    expect(worker.inFlight).toBe(3);
    await waitFor(
      'the rest',
      () => (engine.release(), engine.answered),
      (count) => count === 20,
    );
    expect(await answers).toHaveLength(20);
    expect(engine.most).toBe(3);
  });

  it('takes no room from what else an engine is asked: it is told at once while all room is taken', async () => {
    const here = deployment();
    const told: string[] = [];
    const engine = Object.assign(new HeldEngine('held'), {
      controls: { clear_kv_blocks: () => void told.push('control') },
      abort: () => void told.push('abort'),
      drain: () => void told.push('drain'),
    });
    const { worker, runtime } = await here.serve(engine, { concurrency: 1 });
    const client = await clientOf(here);
    const first = client.collect(request);
    await waitFor(
      'the first',
      () => engine.running,
      (running) => running === 1,
    );
    const [leaving, second] = [new AbortController(), client.collect(request)];
    const third = client.collect(request, { signal: leaving.signal });
    const control = await fetch(`http://${runtime.systemAddress}/engine/control/clear_kv_blocks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect(await control.json()).toEqual({ status: 'success' });
    leaving.abort();
    await expect(third).rejects.toThrow();
    await waitFor(
      'the abort',
      () => told,
      () => told.includes('abort'),
    );
    const closing = worker.close();
    await waitFor(
      'the drain',
      () => told,
      () => told.includes('drain'),
    );
    await waitFor(
      'the rest',
      () => (engine.release(), engine.answered),
      (count) => count === 2,
    );
    for (const answer of await Promise.all([first, second]))
      expect(answer.at(-1)).toMatchObject({ finish_reason: 'stop' });
    await closing;
    expect(told).toEqual(['control', 'abort', 'drain']);
    expect(engine.most).toBe(1);
  });

  it('refuses what still waits when its time to finish is over', async () => {
    const here = deployment();
    const engine = new HeldEngine('held');
    const { worker } = await here.serve(engine, { concurrency: 1, cleanupTimeoutMs: 1000 });
    const client = await clientOf(here);
    const first = client.collect(request).catch((error: unknown) => error);
    await waitFor(
      'the first',
      () => engine.running,
      (running) => running === 1,
    );
    const second = client.collect(request).catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await worker.close({ timeoutMs: 200 });
    expect(await second).toMatchObject({ code: 'DYN_UNAVAILABLE' });
    engine.release();
    await first;
    expect(engine.most).toBe(1);
  });

  it('gives the place of a waiting request whose caller left to the next', async () => {
    const here = deployment();
    const engine = new HeldEngine('held');
    await here.serve(engine, { concurrency: 1 });
    const client = await clientOf(here);
    const first = client.collect(request);
    await waitFor(
      'the first',
      () => engine.running,
      (running) => running === 1,
    );
    const leaving = new AbortController();
    const left = Array.from({ length: 10 }, () =>
      client.collect(request, { signal: leaving.signal }).catch(() => 'left'),
    );
    leaving.abort();
    expect(await Promise.all(left)).toEqual(Array(10).fill('left'));
    const last = client.collect(request);
    await waitFor(
      'both',
      () => (engine.release(), engine.answered),
      (count) => count >= 2,
    );
    expect(await Promise.all([first, last])).toHaveLength(2);
  });
});

it('highWaterBytes of serveEngine is how far an engine runs ahead of its reader', async () => {
  const BYTES = 16 * 1024;
  const ahead = async (highWaterBytes: number): Promise<number> => {
    const here = deployment();
    let yielded = 0;
    const engine: LLMEngine = {
      start: () => ({ model: 'ahead' }),
      async *generate(_, { signal }) {
        for (; !signal.aborted; yielded++) yield { token_ids: [300], text: 'x'.repeat(BYTES) };
        yield { token_ids: [], finish_reason: 'cancelled' };
      },
    };
    await here.serve(engine, { highWaterBytes });
    await using stream = (await clientOf(here)).generate(request);
    await stream.next();
    await waitForPause('the engine', () => yielded);
    return yielded;
  };
  const [little, much] = [await ahead(BYTES), await ahead(1000 * BYTES)];
  expect(much - little).toBeGreaterThan(700);
  expect(much - little).toBeLessThan(1500);
});

it('metricsLabels of serveEngine are on the metrics of its requests', async () => {
  const here = deployment();
  const { runtime } = await here.serve(new Parrot('yes'), { metricsLabels: { tenant: 'acme', pool: 'a b' } });
  await (await clientOf(here)).collect(request);
  const labelled =
    /^dynamo_component_requests_total\{(?=[^}]*dynamo_endpoint="generate")(?=[^}]*tenant="acme")[^}]*pool="a b"[^}]*\} 1$/m;
  await waitFor(
    'the count',
    () => runtime.metricsText(),
    (text) => labelled.test(text),
  );
});

it.each([
  [true, false],
  [false, true],
])(
  'excludeToolsWhenToolChoiceNone %s: tools that may not be called are in the prompt: %s',
  async (excludeToolsWhenToolChoiceNone, shown) => {
    const chatTemplate = join(temporaryFolder(), 'template.jinja');
    writeFileSync(
      chatTemplate,
      "{% for message in messages %}{{ message['content'] }}{% endfor %}{% if tools %}{% for tool in tools %} a tool named {{ tool.function.name }}{% endfor %}{% endif %}",
    );
    const here = deployment();
    const engine = new Parrot('yes');
    await here.serve(engine, { chatTemplate, excludeToolsWhenToolChoiceNone });
    const frontend = await here.frontend();
    await frontend.waitForModel('parrot');
    const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } }];
    for (const body of [{}, { tools, tool_choice: 'none' }, { tools }])
      expect((await chat(frontend, { model: 'parrot', ...body })).status).toBe(200);
    const [bare, none, auto] = engine.asked.map(({ token_ids }) => token_ids.length) as [number, number, number];
    expect(auto).toBeGreaterThan(bare);
    expect(none).toBe(shown ? auto : bare);
  },
);
