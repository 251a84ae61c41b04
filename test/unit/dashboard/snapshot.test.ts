import { describe, expect, it } from 'vitest';
import { type InstanceFigures, snapshot } from '../../../lib/dashboard/snapshot.js';
import { HOSTILE_TEXT, inventedInputs, inventedRun } from '../../helpers/dashboard/inputs.js';

const AT_MS = Date.UTC(2026, 0, 2);

describe('snapshot', () => {
  it('joins the process, the instance in discovery and the figures of a worker', () => {
    const { services } = snapshot(inventedInputs(1, AT_MS));
    const decode = services.find(({ name }) => name === 'Decode');
    expect(decode).toMatchObject({ role: 'decode', component: 'dynamo.decode', desired: 2, ready: 1, canScale: true });
    expect(decode?.instances).toHaveLength(2);
    expect(decode?.instances[0]).toMatchObject({
      id: 'Decode#0',
      instanceId: '9000',
      phase: 'ready',
      address: '127.0.0.1:4000',
      hasLog: true,
      lastTtftMs: 80,
      transfers: { transport: 'NIXL' },
    });
    expect(decode?.instances[1]).toMatchObject({ phase: 'backing-off', restarts: 3 });
  });

  it('takes each figure from the first source that knows it, and what only another knows from that', () => {
    const flow = { requestsPerSecond: 1, running: 2, queued: 3, inputTokensPerSecond: 4, outputTokensPerSecond: 5 };
    const kv = { usedBlocks: 60, totalBlocks: 200, usage: 0.3, hitRate: 0.7 };
    const shown = (known: InstanceFigures, other: InstanceFigures) => {
      const figures = new Map([
        ['9000', known],
        ['Decode#0', other],
      ]);
      const { services } = snapshot({ ...inventedInputs(1, AT_MS), figures });
      return services.find(({ name }) => name === 'Decode')?.instances[0];
    };
    expect(shown({ flow, kv }, {})).toMatchObject({ flow, kv });
    expect(shown({}, { flow, kv })).toMatchObject({ flow, kv });
    const zeros = { requestsPerSecond: 0, running: 0, queued: 0, inputTokensPerSecond: 0, outputTokensPerSecond: 0 };
    expect(shown({ flow: zeros, kv: { hitRate: 0 } }, { flow, kv })).toMatchObject({
      flow: zeros,
      kv: { ...kv, hitRate: 0 },
    });
    for (const name of Object.keys(flow) as (keyof typeof flow)[])
      expect(shown({ flow: { [name]: 99 } }, { flow, kv })?.flow).toEqual({ ...flow, [name]: 99 });
  });

  it('has the mean of the usages and hit rates that are known, if no cache has a size', () => {
    const figures = new Map([
      ['Decode#0', { kv: { usage: 0.2, hitRate: 0 } }],
      ['Decode#1', { kv: { usage: 0.6 } }],
    ]);
    const { kv } = snapshot({ ...inventedInputs(1, AT_MS), traffic: undefined, figures });
    expect(kv.usage).toBeCloseTo(0.4);
    expect(kv.hitRate).toBe(0);
  });

  it('computes the usage of a cache from the blocks of its model', () => {
    const { services, kv } = snapshot(inventedInputs(1, AT_MS));
    const [first] = services.find(({ name }) => name === 'Decode')?.instances ?? [];
    expect(first?.kv.usage).toBeCloseTo((first?.kv.usedBlocks ?? 0) / 1000);
    expect(kv.usage).toBeGreaterThan(0);
    expect(kv.hitRate).toBe(0.4);
  });

  it('lists an instance of another machine with its service, and one that no service has by its component', () => {
    const inputs = inventedInputs(1, AT_MS, { instances: 1 });
    const found = (component: string, instanceId: string) => ({
      ...{ namespace: 'dynamo', component, endpoint: 'generate', instanceId, address: 'tcp://10.0.0.1:1' },
    });
    const instances = [...inputs.instances, found('decode', '77'), found('prefill-2', '78')];
    const { services, edges } = snapshot({ ...inputs, instances });
    expect(services.find(({ name }) => name === 'Decode')?.instances.map(({ id }) => id)).toEqual(['Decode#0', '77']);
    expect(services.find(({ name }) => name === 'dynamo.prefill-2')).toMatchObject({ role: 'worker', canScale: false });
    expect(edges).toContainEqual({ from: 'Frontend', to: 'dynamo.prefill-2', kind: 'request' });
  });

  it('does not list an instance twice while the id of its worker is not known', () => {
    const inputs = inventedInputs(1, AT_MS, { instances: 1 });
    const run = inventedRun({ instances: 1 });
    const [decode, ...rest] = run.services;
    const unknown = { ...run, services: [{ name: 'Decode', desired: 1, workers: [] }, ...rest] };
    const starting = {
      ...decode?.workers[0],
      number: 0,
      phase: 'ready' as const,
      restarts: 0,
      log: '',
      instanceId: undefined,
    };
    unknown.services[0] = { name: 'Decode', desired: 1, workers: [starting] };
    const { services } = snapshot({ ...inputs, run: unknown });
    expect(services.find(({ name }) => name === 'Decode')?.instances.map(({ id }) => id)).toEqual(['Decode#0']);
  });

  it('shows a graph of Python programs from discovery and its frontends alone', () => {
    const inputs = inventedInputs(1, AT_MS);
    const python = (component: string, endpoint: string, instanceId: string) => ({
      ...{ namespace: 'ns', component, endpoint, instanceId, address: '' },
    });
    const shown = snapshot({
      ...inputs,
      name: 'ns',
      spec: undefined,
      run: undefined,
      instances: [
        python('backend', 'clear', '1'),
        python('backend', 'generate', '1'),
        python('prefill', 'generate', '2'),
      ],
      frontends: [
        { url: 'http://127.0.0.1:8000', isAnswering: true },
        { url: 'http://127.0.0.1:8001', isAnswering: false },
      ],
      figures: new Map([['1', { flow: { running: 4 }, kv: { usedBlocks: 10 }, workerType: 'decode' }]]),
    });
    expect(shown.graph).toMatchObject({ name: 'ns', phase: 'unknown' });
    expect(shown.services.map(({ name, role, ready }) => [name, role, ready])).toEqual([
      ['frontends', 'frontend', 1],
      ['ns.backend', 'worker', 1],
      ['ns.prefill', 'prefill', 1],
    ]);
    expect(shown.edges).toEqual([
      { from: 'frontends', to: 'ns.backend', kind: 'request' },
      { from: 'frontends', to: 'ns.prefill', kind: 'request' },
      { from: 'ns.prefill', to: 'ns.backend', kind: 'transfer' },
    ]);
    expect(shown.actions).toEqual({ scale: false, trace: true, logs: false });
  });

  it('warns of a source that does not answer, of a service without workers, and of the end of the graph', () => {
    const inputs = inventedInputs(1, AT_MS, { instances: 0 });
    const [decode, ...rest] = inventedRun({ instances: 0 }).services;
    const run = { ...inventedRun(), services: [{ ...decode, name: 'Decode', desired: 2, workers: [] }, ...rest] };
    const { warnings } = snapshot({ ...inputs, run });
    expect(warnings).toEqual(['discovery cannot be read: the queue grows', 'Decode has no ready worker']);
    const ended = snapshot({ ...inputs, run, isGone: true });
    expect(ended.warnings[0]).toBe('the graph has ended');
    expect(ended.graph.phase).toBe('gone');
    expect(ended.actions.scale).toBe(false);
  });

  it('passes hostile text through as data', () => {
    const shown = snapshot(inventedInputs(1, AT_MS, { hostile: true }));
    expect(shown.graph.name).toBe(HOSTILE_TEXT);
    expect(shown.services[0]?.instances[1]?.reason).toBe(HOSTILE_TEXT);
    expect(JSON.parse(JSON.stringify(shown)).graph.name).toBe(HOSTILE_TEXT);
  });

  it('writes null for what is not known or not finite in the point of the history', () => {
    const inputs = inventedInputs(1, AT_MS);
    const { point } = snapshot({ ...inputs, traffic: undefined, figures: new Map() });
    expect(point.time).toBe(AT_MS / 1000);
    expect(point.values).toMatchObject({ requestsPerSecond: null, ttftP50Ms: null, kvUsage: null, readyInstances: 4 });
    const figures = new Map([['Decode#0', { kv: { usage: Number.NaN } }]]);
    expect(snapshot({ ...inputs, figures }).point.values.kvUsage).toBeNull();
  });

  it('has the same result for the same inputs, and for 200 instances less than 300 kB', () => {
    const inputs = inventedInputs(3, AT_MS, { instances: 200 });
    const text = JSON.stringify(snapshot(inputs));
    expect(text).toBe(JSON.stringify(snapshot(inputs)));
    expect(text.length).toBeLessThan(300_000);
    expect(snapshot(inputs).services[0]?.instances).toHaveLength(200);
  });
});
