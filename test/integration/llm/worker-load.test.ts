import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LLMEngine, LLMEngineOutput } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { GatedEngine } from '../../helpers/llm/engines.js';
import { FixedAnswerEngine } from '../../helpers/llm/fixed-answer-engine.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor, waitForPause } from '../../helpers/wait.js';

const made = deployments();
const deployment = () => made({ systemPort: 0, systemHost: '127.0.0.1' });

/** A client of the worker without a frontend. It sends requests in the format of a frontend. */
async function clientOf(here: Deployment) {
  const client = await (await here.runtime()).endpoint<object, LLMEngineOutput>('test.backend.generate').client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client;
}

function waitForRunning(engine: GatedEngine, count: number): Promise<unknown> {
  return waitFor(
    `${count} running requests`,
    () => engine.running,
    (running) => running === count,
  );
}

/** Releases running requests until `count` are answered. */
function releaseUntil(engine: GatedEngine, count: number): Promise<unknown> {
  return waitFor(
    `${count} answers`,
    () => (engine.release(), engine.answered),
    (answered) => answered >= count,
  );
}

const request = {
  model: 'gated',
  token_ids: [1, 2, 3],
  stop_conditions: { max_tokens: 100_000 },
  sampling_options: {},
  output_options: {},
  eos_token_ids: [],
  annotations: [],
};

describe('the concurrency of serveEngine', () => {
  it('limits the number of running requests; the others wait and are answered', async () => {
    const here = deployment();
    const engine = new GatedEngine('gated');
    const { worker } = await here.serve(engine, { concurrency: 3 });
    const client = await clientOf(here);
    const answers = Promise.all(Array.from({ length: 20 }, () => client.collect(request)));
    await waitForRunning(engine, 3);
    expect(worker.inFlight).toBe(3);
    await releaseUntil(engine, 20);
    expect(await answers).toHaveLength(20);
    expect(engine.maxRunning).toBe(3);
  });

  it('does not delay controls, abort and drain while all capacity is in use', async () => {
    const here = deployment();
    const calls: string[] = [];
    const engine = Object.assign(new GatedEngine('gated'), {
      controls: { clear_kv_blocks: () => void calls.push('control') },
      abort: () => void calls.push('abort'),
      drain: () => void calls.push('drain'),
    });
    const { worker, runtime } = await here.serve(engine, { concurrency: 1 });
    const client = await clientOf(here);
    const first = client.collect(request);
    await waitForRunning(engine, 1);
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
      () => calls,
      () => calls.includes('abort'),
    );
    const closing = worker.close();
    await waitFor(
      'the drain',
      () => calls,
      () => calls.includes('drain'),
    );
    await releaseUntil(engine, 2);
    for (const answer of await Promise.all([first, second]))
      expect(answer.at(-1)).toMatchObject({ finish_reason: 'stop' });
    await closing;
    expect(calls).toEqual(['control', 'abort', 'drain']);
    expect(engine.maxRunning).toBe(1);
  });

  it('rejects requests that still wait when the close times out', async () => {
    const here = deployment();
    const engine = new GatedEngine('gated');
    const { worker } = await here.serve(engine, { concurrency: 1, cleanupTimeoutMs: 1000 });
    const client = await clientOf(here);
    const first = client.collect(request).catch((error: unknown) => error);
    await waitForRunning(engine, 1);
    const second = client.collect(request).catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await worker.close({ timeoutMs: 200 });
    expect(await second).toMatchObject({ code: 'DYN_UNAVAILABLE' });
    engine.release();
    await first;
    expect(engine.maxRunning).toBe(1);
  });

  it('refuses requests beyond maxQueued, with a retryable error and a metric, but never a control', async () => {
    const here = deployment();
    const engine = Object.assign(new GatedEngine('gated'), { controls: { ping: () => ({ pong: true }) } });
    const { runtime } = await here.serve(engine, { concurrency: 1, maxQueued: 2 });
    const client = await clientOf(here);
    const first = client.collect(request);
    await waitForRunning(engine, 1);
    const refused: unknown[] = [];
    const others = Array.from({ length: 6 }, () =>
      client.collect(request).catch((error: unknown) => void refused.push(error)),
    );
    await waitFor(
      'the refused requests',
      () => refused.length,
      (count) => count === 4,
    );
    for (const error of refused)
      expect(error).toMatchObject({
        code: 'DYN_CAPACITY_EXHAUSTED',
        retryable: true,
        reason: 'capacity.worker_overloaded',
      });
    expect(runtime.metricsText()).toMatch(/^dynamo_component_queue_rejected_total\{[^}]*\} 4$/m);
    const control = await fetch(`http://${runtime.systemAddress}/engine/control/ping`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect(await control.json()).toMatchObject({ pong: true });
    await releaseUntil(engine, 3);
    await Promise.all([first, ...others]);
    expect(engine.answered).toBe(3);
  });

  it('passes the place of a cancelled request to the next one', async () => {
    const here = deployment();
    const engine = new GatedEngine('gated');
    await here.serve(engine, { concurrency: 1 });
    const client = await clientOf(here);
    const first = client.collect(request);
    await waitForRunning(engine, 1);
    const leaving = new AbortController();
    const left = Array.from({ length: 10 }, () =>
      client.collect(request, { signal: leaving.signal }).catch(() => 'left'),
    );
    leaving.abort();
    expect(await Promise.all(left)).toEqual(Array(10).fill('left'));
    const last = client.collect(request);
    await releaseUntil(engine, 2);
    expect(await Promise.all([first, last])).toHaveLength(2);
  });
});

describe('options of serveEngine under load', () => {
  it('highWaterBytes limits how far an engine runs ahead of its reader', async () => {
    const BYTES = 16 * 1024;
    const ahead = async (items: number): Promise<number> => {
      const here = deployment();
      let yielded = 0;
      const engine: LLMEngine = {
        start: () => ({ model: 'ahead' }),
        async *generate(_, { signal }) {
          for (; !signal.aborted; yielded++) yield { token_ids: [300], text: 'x'.repeat(BYTES) };
          yield { token_ids: [], finish_reason: 'cancelled' };
        },
      };
      await here.serve(engine, { highWaterBytes: items * BYTES });
      await using stream = (await clientOf(here)).generate(request);
      await stream.next();
      await waitFor('the items', () => yielded >= items);
      return waitForPause('the engine', () => yielded);
    };
    // The sockets take some megabytes besides.
    const [little, much] = [await ahead(1), await ahead(1000)];
    expect(little).toBeLessThan(900);
    expect(much - little).toBeLessThan(1500);
  });

  it('metricsLabels are added to the metrics of requests', async () => {
    const here = deployment();
    const { runtime } = await here.serve(new FixedAnswerEngine('yes'), {
      metricsLabels: { tenant: 'acme', pool: 'a b' },
    });
    await (await clientOf(here)).collect(request);
    const counts = /^dynamo_component_requests_total\{([^}]*)\} 1$/gm;
    const labels = ['dynamo_endpoint="generate"', 'tenant="acme"', 'pool="a b"'];
    await waitFor(
      'the count',
      () => runtime.metricsText(),
      (text) => [...text.matchAll(counts)].some(([, found]) => labels.every((label) => found?.includes(label))),
    );
  });

  it.each([
    [true, false],
    [false, true],
  ])(
    'excludeToolsWhenToolChoiceNone %s: the prompt has the tools with tool_choice none: %s',
    async (excludeToolsWhenToolChoiceNone, shown) => {
      const chatTemplate = join(temporaryFolder(), 'template.jinja');
      writeFileSync(
        chatTemplate,
        "{% for message in messages %}{{ message['content'] }}{% endfor %}" +
          '{% if tools %}{% for tool in tools %} a tool named {{ tool.function.name }}{% endfor %}{% endif %}',
      );
      const here = deployment();
      const engine = new FixedAnswerEngine('yes');
      await here.serve(engine, { chatTemplate, excludeToolsWhenToolChoiceNone });
      const frontend = await here.frontend();
      await frontend.waitForModel('parrot');
      const tools = [
        { type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } },
      ];
      for (const body of [{}, { tools, tool_choice: 'none' }, { tools }])
        expect((await chat(frontend, { model: 'parrot', ...body })).status).toBe(200);
      const [bare, none, auto] = engine.requests.map(({ token_ids }) => token_ids.length) as [number, number, number];
      expect(auto).toBeGreaterThan(bare);
      expect(none).toBe(shown ? auto : bare);
    },
  );
});
