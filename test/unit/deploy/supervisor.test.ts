import { describe, expect, it } from 'vitest';

import { GpuAllocator } from '../../../lib/deploy/local/gpu-allocator.js';
import type { SpawnWorker } from '../../../lib/deploy/local/managed-worker.js';
import { DEFAULT_RESTARTS } from '../../../lib/deploy/local/restart-policy.js';
import { Supervisor } from '../../../lib/deploy/local/supervisor.js';
import type { WorkerEvent } from '../../../lib/deploy/local/worker-state.js';
import { specWith } from '../../helpers/deploy/spec.js';
import { waitFor } from '../../helpers/wait.js';

/** Workers without processes: each is ready at once and ends at once, unless `silent` has its name. */
class Workers {
  readonly calls: string[] = [];
  readonly reports = new Map<string, (event: WorkerEvent) => void>();

  constructor(readonly silent: readonly string[] = []) {}

  readonly spawn: SpawnWorker = ({ service, number, gpus }, report) => {
    const name = `${service}#${number}`;
    this.reports.set(name, report);
    this.calls.push(`spawn ${name}${gpus.map((id) => ` on GPU ${id}`).join()}`);
    const end = (): void => setImmediate(report, { type: 'exited', exit: { code: 0, signal: null } }) as never;
    return {
      pid: undefined,
      release: () => {
        this.calls.push(`release ${name}`);
        if (!this.silent.includes(name)) setImmediate(report, { type: 'ready' });
      },
      measure: () => {},
      recall: () => {},
      drain: () => {
        this.calls.push(`drain ${name}`);
        end();
      },
      kill: () => {
        this.calls.push(`kill ${name}`);
        end();
      },
    };
  };

  exit(name: string, code: number): void {
    this.reports.get(name)?.({ type: 'exited', exit: { code, signal: null } });
  }
}

const policy = { restarts: { ...DEFAULT_RESTARTS, minDelayMs: 1 }, startTimeoutMs: 10_000, graceMs: 10_000 };
const chain = specWith({ Front: ['Middle'], Middle: ['Back'], Back: [] }, 'Front');

const supervise = (workers: Workers, spec = chain, gpus = new GpuAllocator([])) =>
  new Supervisor({ spec, policy, gpus, spawn: workers.spawn });

describe('Supervisor', () => {
  it('loads all workers at once, starts them in order, and drains them in the reverse order', async () => {
    const workers = new Workers();
    const supervisor = supervise(workers);
    await supervisor.start();
    await supervisor.drain();
    await supervisor.ended;
    expect(workers.calls).toEqual([
      'spawn Front#0',
      'spawn Middle#0',
      'spawn Back#0',
      'release Back#0',
      'release Middle#0',
      'release Front#0',
      'drain Front#0',
      'drain Middle#0',
      'drain Back#0',
    ]);
  });

  it('rejects the start with the reason of the worker that failed, and starts no service after it', async () => {
    const workers = new Workers(['Middle#0']);
    const supervisor = supervise(workers);
    const started = supervisor.start();
    await waitFor('the release', () => workers.calls.includes('release Middle#0'));
    workers.reports.get('Middle#0')?.({ type: 'failed', message: 'no such model' });
    workers.exit('Middle#0', 1);
    await expect(started).rejects.toThrow('Middle#0 did not start: no such model');
    await expect(supervisor.ended).rejects.toThrow('Middle#0 did not start');
    await supervisor.drain();
    expect(workers.calls).not.toContain('release Front#0');
  });

  it('goes on while a service has another worker, and ends with its last one', async () => {
    const workers = new Workers();
    const services = chain.services.map((one) => ({ ...one, workers: one.name === 'Back' ? 2 : 1 }));
    const supervisor = new Supervisor({
      spec: { ...chain, services },
      policy: { ...policy, restarts: { ...policy.restarts, respawn: 'never' } },
      gpus: new GpuAllocator([]),
      spawn: workers.spawn,
    });
    await supervisor.start();
    workers.exit('Back#0', 9);
    expect(await Promise.race([supervisor.ended.catch(() => 'ended'), Promise.resolve('goes on')])).toBe('goes on');
    workers.exit('Back#1', 9);
    await expect(supervisor.ended).rejects.toThrow('Back#1 crashed: its process ended with code 9');
    await supervisor.drain();
  });

  it.each([1, 2, 3, 5])('scales to %i after a reload that was in progress', async (count) => {
    const slow: string[] = [];
    const workers = new Workers(slow);
    const services = chain.services.map((one) => ({ ...one, workers: one.name === 'Back' ? 3 : 1 }));
    const supervisor = supervise(workers, { ...chain, services });
    await supervisor.start();
    const names = ['Back#0', 'Back#1', 'Back#2'];
    slow.push(...names);
    workers.calls.length = 0;
    const reloading = supervisor.reload('Back');
    const scaling = supervisor.scale(new Map([['Back', count]]));
    await waitFor('the new workers', () => names.every((name) => workers.calls.includes(`release ${name}`)));
    slow.length = 0;
    for (const name of names) workers.reports.get(name)?.({ type: 'ready' });
    await Promise.all([reloading, scaling]);
    const backs = supervisor.workers.filter(({ identity }) => identity.service === 'Back');
    const expected = Array.from({ length: count }, (_, number) => [number, 'ready']);
    expect(backs.map(({ identity, state }) => [identity.number, state.phase])).toEqual(expected);
    expect(supervisor.desired('Back')).toBe(count);
    await supervisor.drain();
  });

  it('starts a worker of each service of a circle early, however many the first one has', async () => {
    const circle = specWith({ Front: ['Left'], Left: ['Right'], Right: ['Left'] }, 'Front');
    const services = circle.services.map((one) => ({ ...one, workers: one.name === 'Left' ? 5 : 1 }));
    const workers = new Workers(['Left#0', 'Left#1']);
    const spec = { ...circle, services };
    const supervisor = new Supervisor({
      spec,
      policy,
      gpus: new GpuAllocator([]),
      spawn: workers.spawn,
      maxStarting: 2,
    });
    const started = supervisor.start();
    await waitFor('the other service', () => workers.calls.includes('release Right#0'));
    expect(workers.calls).not.toContain('release Left#1');
    workers.reports.get('Left#0')?.({ type: 'ready' });
    await waitFor('the second', () => workers.calls.includes('release Left#1'));
    workers.reports.get('Left#1')?.({ type: 'ready' });
    await started;
    await supervisor.drain();
  });

  describe('with more new workers than may start at the same time', () => {
    const spec = specWith({ Front: [] }, 'Front');
    const names = [1, 2, 3, 4, 5].map((number) => `Front#${number}`);
    const ready = (workers: Workers, name: string): void => workers.reports.get(name)?.({ type: 'ready' });
    const releases = (workers: Workers): string[] =>
      workers.calls.filter((call) => call.startsWith('release')).map((call) => call.slice('release '.length));

    async function scaledToSix() {
      const workers = new Workers(names);
      const policy1 = { ...policy, restarts: { ...policy.restarts, respawn: 'never' } } as const;
      const options = { spec, policy: policy1, gpus: new GpuAllocator([]), spawn: workers.spawn, maxStarting: 2 };
      const supervisor = new Supervisor(options);
      await supervisor.start();
      const scaled = supervisor.scale(new Map([['Front', 6]]));
      scaled.catch(() => {});
      return { workers, supervisor, scaled };
    }

    it('starts the next one when one is ready', async () => {
      const { workers, supervisor, scaled } = await scaledToSix();
      expect(releases(workers)).toEqual(['Front#0', 'Front#1', 'Front#2']);
      ready(workers, 'Front#2');
      await waitFor('the next', () => releases(workers).includes('Front#3'));
      expect(workers.reports.has('Front#4')).toBe(false);
      for (const name of ['Front#1', 'Front#3', 'Front#4', 'Front#5']) {
        await waitFor(name, () => releases(workers).includes(name));
        ready(workers, name);
      }
      await scaled;
      expect(releases(workers)).toEqual(['Front#0', ...names]);
      await supervisor.drain();
    });

    it('starts no other after one that failed', async () => {
      const { workers, supervisor, scaled } = await scaledToSix();
      workers.reports.get('Front#1')?.({ type: 'failed', message: 'no such model' });
      workers.exit('Front#1', 1);
      await expect(scaled).rejects.toThrow('Front#1 did not start: no such model');
      ready(workers, 'Front#2');
      expect(releases(workers)).toEqual(['Front#0', 'Front#1', 'Front#2']);
      expect(supervisor.workers.map(({ name }) => name)).toEqual(['Front#0', 'Front#2']);
      await supervisor.drain();
    });

    it('gives those up that were not started when the number is lowered', async () => {
      const { workers, supervisor, scaled } = await scaledToSix();
      const lowered = supervisor.scale(new Map([['Front', 2]]));
      ready(workers, 'Front#1');
      await Promise.all([scaled, lowered]);
      expect(supervisor.workers.map(({ name }) => name)).toEqual(['Front#0', 'Front#1']);
      expect(releases(workers)).toEqual(['Front#0', 'Front#1', 'Front#2']);
      await supervisor.drain();
    });

    it('starts none after a drain has begun, also of a service that ends later', async () => {
      const workers = new Workers(['Back#1', 'Back#2']);
      const gpus = new GpuAllocator([]);
      const supervisor = new Supervisor({ spec: chain, policy, gpus, spawn: workers.spawn, maxStarting: 2 });
      await supervisor.start();
      const scaled = supervisor.scale(new Map([['Back', 6]]));
      await waitFor('the second', () => releases(workers).includes('Back#2'));
      const drained = supervisor.drain();
      ready(workers, 'Back#1');
      await Promise.all([scaled, drained]);
      expect(releases(workers).filter((name) => name.startsWith('Back'))).toEqual(['Back#0', 'Back#1', 'Back#2']);
    });
  });

  it('grants GPUs to workers, takes them back, and changes nothing if too few are left', async () => {
    const workers = new Workers();
    const spec = specWith({ Front: [] }, 'Front');
    const services = spec.services.map((one) => ({ ...one, resources: { gpu: 1 } }));
    const supervisor = supervise(workers, { ...spec, services }, new GpuAllocator(['4', '5']));
    await supervisor.start();
    await expect(supervisor.scale(new Map([['Front', 3]]))).rejects.toMatchObject({ code: 'E_GPU_SHORT' });
    await supervisor.scale(new Map([['Front', 2]]));
    await supervisor.scale(new Map([['Front', 1]]));
    await supervisor.scale(new Map([['Front', 2]]));
    await supervisor.drain();
    expect(workers.calls.filter((call) => call.startsWith('spawn'))).toEqual([
      'spawn Front#0 on GPU 4',
      'spawn Front#1 on GPU 5',
      'spawn Front#1 on GPU 5',
    ]);
  });

  it('rejects a scale before it has started and after it drains', async () => {
    const supervisor = supervise(new Workers());
    const one = new Map([['Back', 1]]);
    await expect(supervisor.scale(one)).rejects.toMatchObject({ code: 'E_NOT_RUNNING' });
    await supervisor.start();
    await supervisor.scale(one);
    await supervisor.drain();
    await expect(supervisor.scale(one)).rejects.toMatchObject({ code: 'E_NOT_RUNNING' });
  });

  it('removes a new worker that does not start, and keeps the others', async () => {
    const workers = new Workers(['Back#1']);
    const supervisor = supervise(workers);
    await supervisor.start();
    const scaled = supervisor.scale(new Map([['Back', 2]]));
    await waitFor('the release', () => workers.calls.includes('release Back#1'));
    workers.exit('Back#1', 1);
    await expect(scaled).rejects.toThrow('Back#1 did not start: its process ended with code 1');
    expect(supervisor.workers.map(({ name }) => name)).toEqual(['Front#0', 'Middle#0', 'Back#0']);
    await supervisor.drain();
  });

  it('begins a change while workers of an earlier one start, and cancels their start', async () => {
    const workers = new Workers(['Back#1', 'Back#2']);
    const supervisor = supervise(workers);
    await supervisor.start();
    const grown = supervisor.scale(new Map([['Back', 3]]));
    await waitFor('the release', () => workers.calls.includes('release Back#2'));
    expect(supervisor.desired('Back')).toBe(3);
    await supervisor.scale(new Map([['Back', 1]]));
    await grown;
    expect(supervisor.desired('Back')).toBe(1);
    expect(supervisor.workers.map(({ name }) => name)).toEqual(['Front#0', 'Middle#0', 'Back#0']);
    await supervisor.drain();
  });

  it('remembers the number that was wanted if a worker does not start', async () => {
    const workers = new Workers(['Back#1']);
    const supervisor = supervise(workers);
    await supervisor.start();
    const scaled = supervisor.scale(new Map([['Back', 2]]));
    workers.exit('Back#1', 1);
    await expect(scaled).rejects.toThrow('Back#1 did not start');
    expect(supervisor.desired('Back')).toBe(2);
    await supervisor.drain();
  });

  it('gives removed workers their own time to complete requests, until the graph ends', async () => {
    const workers = new Workers();
    const times: number[] = [];
    const spawn: SpawnWorker = (worker, report) => {
      const process = workers.spawn(worker, report);
      // Its request does not end.
      return worker.number === 0 ? process : { ...process, drain: (timeoutMs) => void times.push(timeoutMs) };
    };
    const patient = new Supervisor({
      spec: chain,
      policy: { ...policy, graceMs: 20 },
      gpus: new GpuAllocator([]),
      spawn,
    });
    await patient.start();
    await patient.scale(new Map([['Back', 2]]));
    const scaled = patient.scale(new Map([['Back', 1]]), 60_000);
    expect(times).toEqual([60_000]);
    await patient.drain();
    await scaled;
    expect(workers.calls).toContain('kill Back#1');
  });

  it('kills all processes at once', async () => {
    const workers = new Workers();
    const supervisor = supervise(workers);
    await supervisor.start();
    void supervisor.drain();
    supervisor.kill();
    await supervisor.ended;
    expect(workers.calls.filter((call) => call.startsWith('kill'))).toHaveLength(3);
  });
});
