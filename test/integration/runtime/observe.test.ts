import { type LogLine, startLog } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const status = { systemPort: 0, systemHost: '127.0.0.1' };

describe('metrics', () => {
  it('of every kind are on the status server with the labels of their place', async () => {
    const runtime = await testRuntime(status);
    const endpoint = runtime.endpoint<null, number>('metrics.worker.generate');
    await endpoint.serve(() => 1, { metricsLabels: { model: 'tiny' } });
    const requests = endpoint.metrics.counter({ name: 'my_requests_total', help: 'Requests.', labelNames: ['kind'] });
    requests.increment(2, { kind: 'a' });
    endpoint.metrics.gauge({ name: 'my_load', help: 'Load.', labels: { device: 'cpu' } }).set(0.5);
    endpoint.metrics.histogram({ name: 'my_seconds', help: 'Seconds.', buckets: [0.1, 1] }).observe(0.5);
    endpoint.metrics.text().set('# TYPE own_text gauge\nown_text 7\n');
    const client = await endpoint.client();
    await client.waitForInstances();
    await client.unary(null);
    const counted = /dynamo_component_requests_total\{[^}]*model="tiny"[^}]*\} 1/;
    const text = await waitFor(
      'the count',
      async () => (await fetch(`http://${runtime.systemAddress}/metrics`)).text(),
      (all) => counted.test(all),
    );
    expect(text).toMatch(/dynamo_component_my_requests_total\{[^}]*dynamo_endpoint="generate"[^}]*kind="a"[^}]*\} 2/);
    expect(text).toMatch(/dynamo_component_my_load\{[^}]*device="cpu"[^}]*\} 0.5/);
    expect(text).toMatch(/dynamo_component_my_seconds_bucket\{[^}]*le="1"[^}]*\} 1/);
    expect(text).toContain('own_text 7');
    expect(runtime.metricsText()).toContain('dynamo_component_my_load');
  });

  it('of the user are rendered for each reader, or the last text after timeoutMs', async () => {
    const runtime = await testRuntime(status);
    const read = async (): Promise<string[]> => {
      const text = await (await fetch(`http://${runtime.systemAddress}/metrics`)).text();
      return text.split('\n').filter((line) => /^(rendered|late) /.test(line));
    };
    let count = 0;
    let render: () => string | Promise<string> = () => `rendered ${++count}\n`;
    runtime.metrics.text({ render: () => render(), timeoutMs: 60_000 });
    expect([await read(), await read()]).toEqual([['rendered 1'], ['rendered 2']]);
    expect(runtime.metricsText()).toContain('rendered 2');
    render = async () => `rendered ${await Promise.resolve('3')}\n`;
    runtime.metrics.text({ render: () => new Promise(() => {}), timeoutMs: 50 }).set('late 7\n');
    expect(await read()).toEqual(['rendered 3', 'late 7']);
  });

  it('of the user are omitted if they cannot be rendered', async () => {
    const runtime = await testRuntime(status);
    const lines: string[] = [];
    const log = startLog({ filter: 'error', write: ({ message }) => lines.push(message) });
    onTestFinished(() => log.close());
    const renders = [
      () => {
        throw new Error('no registry');
      },
      () => 7 as never,
    ];
    runtime.metrics.text({ render: () => renders.shift()!(), timeoutMs: 60_000 });
    runtime.metrics.text({ render: () => 'rendered 1\n', timeoutMs: 60_000 });
    for (const told of ['no registry', 'expected a string, got 7']) {
      expect(await (await fetch(`http://${runtime.systemAddress}/metrics`)).text()).toMatch(/^rendered 1$/m);
      await waitFor(
        'the line',
        () => lines,
        (seen) => seen.some((line) => line.includes(told)),
      );
    }
    for (const [wrong, message] of [
      [{ render: 1 }, 'render: expected a function, got 1'],
      [{ timeoutMs: 0 }, 'timeoutMs: expected'],
      [{ limit: 1 }, 'limit: unknown option'],
    ] as const) {
      expect(() => runtime.metrics.text(wrong as never)).toThrow(`metrics.text options.${message}`);
    }
  });

  it('of a runtime, a namespace and a component have only the labels of their place', async () => {
    const runtime = await testRuntime(status);
    const namespace = runtime.namespace('places');
    const component = namespace.component('worker');
    const places = { runtime, namespace, component, endpoint: component.endpoint('generate') };
    for (const [name, { metrics }] of Object.entries(places)) {
      const load = metrics.gauge({ name: `load_of_${name}`, help: 'Load.', labelNames: ['device'] });
      load.set(2, { device: 'cpu' });
      load.add(3, { device: 'cpu' });
      load.add(-0.5, { device: 'cpu' });
      load.add(7, { device: 'gpu' });
    }
    const text = runtime.metricsText();
    const labels = {
      runtime: [],
      namespace: ['namespace'],
      component: ['namespace', 'component'],
      endpoint: ['namespace', 'component', 'endpoint'],
    };
    const values = { namespace: 'places', component: 'worker', endpoint: 'generate' };
    for (const [name, has] of Object.entries(labels)) {
      for (const [device, value] of [
        ['cpu', '4.5'],
        ['gpu', '7'],
      ] as const) {
        const line = text
          .split('\n')
          .find((one) => one.includes(`load_of_${name}{`) && one.includes(`device="${device}"`));
        expect(line).toMatch(new RegExp(` ${value}$`));
        for (const [label, of] of Object.entries(values)) {
          if ((has as string[]).includes(label)) expect(line).toContain(`dynamo_${label}="${of}"`);
          else expect(line).not.toContain(`dynamo_${label}=`);
        }
      }
    }
  });

  it('reject what Prometheus rejects', async () => {
    const { metrics } = await testRuntime(status);
    const counter = metrics.counter({ name: 'refusals_total', help: 'x', labelNames: ['kind'] });
    expect(() => counter.increment(-1, { kind: 'a' })).toThrow(/expected 0 or more for a counter, got -1/);
    expect(() => counter.increment(1)).toThrow(/labels.kind: expected a string, got undefined/);
    expect(() => counter.increment(Number.NaN, { kind: 'a' })).toThrow(TypeError);
    expect(() => counter.increment(1, { kind: 'a', sort: 'b' } as never)).toThrow(
      /labels\.sort: unknown name; known are kind/,
    );
    expect(() => metrics.histogram({ name: 'x', help: 'x', buckets: [3, 1] })).toThrow(
      /buckets\[1\]: expected a bound above 3, got 1/,
    );
    expect(() => metrics.gauge({ name: 'x', help: 'x', labelNames: 'kind' as never })).toThrow(
      /labelNames: expected an array of names, got "kind"/,
    );
    expect(() => metrics.counter({ name: 'x', help: 'x', labelNames: ['dynamo_namespace'] })).toThrow();
  });
});

describe('health', () => {
  it('is not ready until it is set', async () => {
    const runtime = await testRuntime(status);
    const health = async (): Promise<number> => (await fetch(`http://${runtime.systemAddress}/health`)).status;
    expect(await health()).toBe(503);
    runtime.setHealthy(true);
    expect(await health()).toBe(200);
    runtime.setHealthy(false);
    expect(await health()).toBe(503);
  });

  it('answers /live like /health', async () => {
    const runtime = await testRuntime(status);
    const asked = async (path: string): Promise<number> =>
      (await fetch(`http://${runtime.systemAddress}${path}`)).status;
    expect([await asked('/live'), await asked('/health')]).toEqual([503, 503]);
    runtime.setHealthy(true);
    expect([await asked('/live'), await asked('/health')]).toEqual([200, 200]);
  });

  it('server answers custom routes', async () => {
    const runtime = await testRuntime(status);
    runtime.engineRoute('control/profile', (body) => ({ got: body }));
    runtime.engineRoute('control/fail', () => {
      throw new RangeError('no profile');
    });
    const post = (route: string, body: unknown): Promise<Response> =>
      fetch(`http://${runtime.systemAddress}/engine/${route}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    expect(await (await post('control/profile', { on: true })).json()).toEqual({ got: { on: true } });
    expect((await post('control/fail', {})).ok).toBe(false);
    const got = await fetch(`http://${runtime.systemAddress}/engine/control/profile`);
    expect([got.status, await got.json()]).toEqual([200, { got: {} }]);
    expect((await fetch(`http://${runtime.systemAddress}/engine/control/nothing`)).status).toBe(404);
    expect(() => runtime.engineRoute('control/profile', () => null)).toThrow(/already registered/);
  });
});

describe('the process', () => {
  it('rejects a setting that another runtime has fixed to another value', async () => {
    await testRuntime(status);
    await expect(testRuntime({ ...status, systemPort: 12345 })).rejects.toMatchObject({
      code: 'DYN_CONFLICT',
      message: expect.stringContaining('DYN_SYSTEM_PORT=12345'),
    });
  });

  it('sends the log of the native side to JavaScript', async () => {
    const lines: string[] = [];
    const log = startLog({ filter: 'info', write: ({ level, message }) => lines.push(`${level} ${message}`) });
    const runtime = await testRuntime(status);
    await runtime.close();
    await expect.poll(() => lines.some((line) => line.startsWith('info ') && line.includes('shutdown'))).toBe(true);
    log.close();
  });

  it('writes its log to standard error by default, with the number of lost lines', async () => {
    const child = Child.program('test/helpers/runtime/programs/log.ts');
    onTestFinished(() => child.stop());
    const { line } = await child.event('lost', {}, 60_000);
    expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ [\w:]+: .* \([1-9]\d* lines lost\)$/s);
    expect(await child.exit(60_000)).toMatchObject({ code: 0 });
    expect(child.output).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z (TRACE|DEBUG|INFO) [\w:]+: /m);
  });

  it('uses the latest filter of its log', async () => {
    const lines: string[] = [];
    const write = ({ level }: LogLine): void => void lines.push(level);
    const close = async (): Promise<void> => (await testRuntime(status)).close();
    const first = startLog({ filter: 'error', write });
    onTestFinished(() => first.close());
    await close();
    const second = startLog({ filter: 'info', write });
    onTestFinished(() => second.close());
    expect(lines).not.toContain('info');
    await close();
    await expect.poll(() => lines).toContain('info');
  });
});
