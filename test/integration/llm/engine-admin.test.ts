import { type DistributedRuntime, DynamoError, type EngineMetrics } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
const status = { systemPort: 0, systemHost: '127.0.0.1' };

async function act(runtime: DistributedRuntime, path: string, body: unknown = {}): Promise<unknown> {
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await fetch(`http://${runtime.systemAddress}/engine/${path}`, init)).json();
}

class Controlled extends CountingEngine {
  readonly calls: string[] = [];
  asleep = false;

  readonly controls = {
    clear_kv_blocks: (body: unknown) => {
      this.calls.push(`clear ${JSON.stringify(body)}`);
      return { status: 'success', cleared: 3 };
    },
    sleep: () => {
      this.calls.push('sleep');
      this.asleep = true;
    },
    wake_up: () => {
      this.calls.push('wake_up');
      this.asleep = false;
    },
    break_down: () => {
      throw new DynamoError('Internal', 'broken down');
    },
  };

  readonly updates = { load_weights: (body: unknown) => ({ status: 'success', body }) };

  async validateEngineControl(name: string, body: unknown) {
    this.calls.push(`validate ${name}`);
    await new Promise((resolve) => setImmediate(resolve));
    const { level = 1 } = body as { level?: unknown };
    if (name === 'sleep' && level !== 1) throw new RangeError(`level: expected 1, got ${String(level)}`);
  }
}

describe('the controls of an engine', () => {
  it('are called through the status server', async () => {
    const engine = new Controlled('controlled');
    const { runtime } = await deployment(status).serve(engine);
    expect(await act(runtime, 'control/clear_kv_blocks', { all: true })).toEqual({ status: 'success', cleared: 3 });
    expect(await act(runtime, 'update/load_weights', { version: 2 })).toEqual({
      status: 'success',
      body: { version: 2 },
    });
    expect(engine.calls).toEqual(['validate clear_kv_blocks', 'clear {"all":true}']);
    expect(await act(runtime, 'control/clear_kv_blocks', [])).toMatchObject({
      status: 'error',
      message: expect.stringContaining('JSON object'),
    });
    expect(JSON.stringify(await act(runtime, 'control/break_down'))).toContain('broken down');
    const missing = await fetch(`http://${runtime.systemAddress}/engine/control/unknown`, {
      method: 'POST',
      body: '{}',
    });
    expect(missing.status).toBe(404);
  });

  it('remove the worker from discovery and add it again', async () => {
    const here = deployment(status);
    const engine = new Controlled('controlled');
    const { runtime } = await here.serve(engine);
    const observer = await here.runtime();
    const served = async () => (await observer.instances()).filter(({ endpoint }) => endpoint === 'generate').length;
    await waitFor('the instance', served, (count) => count === 1);
    expect(await act(runtime, 'control/sleep', { level: 1 })).toMatchObject({ status: 'success' });
    await waitFor('the instance', served, (count) => count === 0);
    expect(engine.asleep).toBe(true);
    expect(await act(runtime, 'control/wake_up')).toMatchObject({ status: 'success' });
    await waitFor('the instance', served, (count) => count === 1);
    expect(engine.asleep).toBe(false);
  });

  it('are rejected by validateEngineControl before the worker leaves discovery', async () => {
    const here = deployment(status);
    const engine = new Controlled('controlled');
    const { runtime } = await here.serve(engine);
    const refused = await act(runtime, 'control/sleep', { level: 7 });
    expect(refused).toMatchObject({ status: 'error', message: expect.stringContaining('level: expected 1, got 7') });
    expect(engine.calls).toEqual(['validate sleep']);
    expect((await runtime.instances()).map(({ endpoint }) => endpoint)).toEqual(['generate']);
  });
});

describe("an engine's own metrics", () => {
  it('are part of every scrape, with the last text', async () => {
    let metrics: EngineMetrics | undefined;
    class Measured extends CountingEngine {
      setupMetrics(given: EngineMetrics) {
        metrics = given;
        given.setText('# TYPE own_queue gauge\nown_queue 1\n');
      }
    }
    const { runtime, worker } = await deployment(status).serve(new Measured('measured'));
    const scrape = async () => (await fetch(`http://${runtime.systemAddress}/metrics`)).text();
    expect(await scrape()).toContain('\nown_queue 1\n');
    const { labels, setText } = metrics as EngineMetrics;
    expect(labels).toMatchObject({
      dynamo_namespace: 'test',
      dynamo_component: 'backend',
      dynamo_endpoint: 'generate',
      model: 'measured',
      model_name: 'measured',
    });
    setText('# TYPE own_queue gauge\nown_queue 2\n');
    expect(await scrape()).toContain('\nown_queue 2\n');
    expect(() => setText(3 as never)).toThrow('engine metrics setText: expected a string, got 3');
    expect(await scrape()).toContain('dynamo_component_model_load_time_seconds');
    await worker.close();
    expect(await scrape()).not.toContain('own_queue');
  });

  it('prevent the start of the worker if setupMetrics throws', async () => {
    class Unmeasurable extends CountingEngine {
      setupMetrics() {
        throw new Error('no registry');
      }
    }
    await expect(deployment(status).serve(new Unmeasurable('unmeasurable'))).rejects.toThrow(/no registry/);
  });
});

describe('the close of a worker', () => {
  it('calls cleanup although drain never settles', async () => {
    const engine = new CountingEngine('drained');
    let cleaned = false;
    const ends = Object.assign(engine, {
      drain: () => new Promise<void>(() => {}),
      cleanup: () => void (cleaned = true),
    });
    const { worker } = await deployment().serve(ends, { cleanupTimeoutMs: 1000 });
    await worker.close();
    expect(cleaned).toBe(true);
  });
});

describe('a sleeping worker', () => {
  it('receives no requests from a frontend', async () => {
    const here = deployment(status);
    const { runtime } = await here.serve(new Controlled('controlled'));
    const frontend = await here.frontend();
    await frontend.waitForModel('controlled');
    await act(runtime, 'control/sleep');
    await waitFor(
      'a refusal',
      async () => (await chat(frontend, { model: 'controlled', max_tokens: 1 })).status,
      (code) => code === 503,
    );
    await act(runtime, 'control/wake_up');
    await waitFor(
      'an answer',
      async () => (await chat(frontend, { model: 'controlled', max_tokens: 1 })).status,
      (code) => code === 200,
    );
  });
});
