import { describe, expect, it } from 'vitest';
import { filesOfServices } from '../../../lib/deploy/local/code-map.js';
import { GpuAllocator } from '../../../lib/deploy/local/gpu-allocator.js';
import { DEFAULT_RESTARTS } from '../../../lib/deploy/local/restart-policy.js';
import { Supervisor } from '../../../lib/deploy/local/supervisor.js';
import type { GraphSpec } from '../../../lib/sdk/graph-spec.js';
import { specWith } from '../../helpers/deploy/spec.js';

const policy = { restarts: DEFAULT_RESTARTS, startTimeoutMs: 10_000, graceMs: 10_000 };

/** A supervisor of workers without processes, which fail in their start while `isBroken`. */
class Supervised {
  readonly calls: string[] = [];
  isBroken = false;
  /** New workers never become ready. */
  hangs = false;
  readonly supervisor: Supervisor;
  #spawned = 0;

  constructor(spec: GraphSpec) {
    this.supervisor = new Supervisor({
      spec,
      policy,
      gpus: new GpuAllocator([]),
      spawn: ({ service, number }, report) => {
        const name = `${service}#${number} (${++this.#spawned})`;
        this.calls.push(`start ${name}`);
        const end = (code = 0): void => void setImmediate(report, { type: 'exited', exit: { code, signal: null } });
        return {
          pid: undefined,
          release: () => {
            if (this.isBroken) end(1);
            else if (!this.hangs) setImmediate(report, { type: 'ready' });
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
      },
    });
  }

  /** Starts it, and forgets what it did so far. */
  async start(): Promise<this> {
    await this.supervisor.start();
    this.calls.length = 0;
    return this;
  }

  get phases(): string[] {
    return this.supervisor.workers.map(({ name, state }) => `${name} ${state.phase}`);
  }
}

const pair = (changes: object = {}): GraphSpec => {
  const spec = specWith({ Front: ['Back'], Back: [] }, 'Front');
  return { ...spec, services: spec.services.map((one) => (one.name === 'Back' ? { ...one, ...changes } : one)) };
};

describe('Supervisor.reload', () => {
  it('starts all new workers of the service first, and drains the old ones afterwards', async () => {
    const supervised = await new Supervised(pair({ workers: 2 })).start();
    await supervised.supervisor.reload('Back');
    expect(supervised.calls).toEqual(['start Back#0 (4)', 'start Back#1 (5)', 'drain Back#0 (2)', 'drain Back#1 (3)']);
    expect(supervised.phases).toEqual(['Front#0 ready', 'Back#0 ready', 'Back#1 ready']);
  });

  it('drains the old worker first if it has a port, one after the other', async () => {
    const supervised = await new Supervised(pair({ workers: 2, httpPort: 8000 })).start();
    await supervised.supervisor.reload('Back');
    expect(supervised.calls).toEqual(['drain Back#0 (2)', 'start Back#0 (4)', 'drain Back#1 (3)', 'start Back#1 (5)']);
  });

  it('keeps the old workers if the new ones do not start', async () => {
    const supervised = await new Supervised(pair()).start();
    supervised.isBroken = true;
    await expect(supervised.supervisor.reload('Back')).rejects.toThrow('Back#0 did not start: its process ended with');
    expect(supervised.phases).toEqual(['Front#0 ready', 'Back#0 ready']);
  });

  it('does not end the graph if a worker with a port does not start, and replaces it by the next reload', async () => {
    const supervised = await new Supervised(pair({ httpPort: 8000 })).start();
    supervised.isBroken = true;
    await expect(supervised.supervisor.reload('Back')).rejects.toThrow('Back#0 did not start');
    expect(supervised.phases).toEqual(['Front#0 ready', 'Back#0 failed']);
    supervised.isBroken = false;
    await supervised.supervisor.reload('Back');
    expect(supervised.phases).toEqual(['Front#0 ready', 'Back#0 ready']);
  });
});

describe('Supervisor.reload with a signal', () => {
  it.each([
    ['keeps the old workers', {}, ['start Back#0 (3)', 'kill Back#0 (3)'], 'ready'],
    [
      'leaves one with a port away',
      { httpPort: 8000 },
      ['drain Back#0 (2)', 'start Back#0 (3)', 'kill Back#0 (3)'],
      'stopped',
    ],
  ])('ends new workers that hang in their start, %s, and the next reload works', async (_, changes, calls, phase) => {
    const supervised = await new Supervised(pair(changes)).start();
    const controller = new AbortController();
    supervised.hangs = true;
    const reloaded = supervised.supervisor.reload('Back', controller.signal);
    await expect.poll(() => supervised.calls).toContain('start Back#0 (3)');
    controller.abort(new Error('changed again'));
    await expect(reloaded).rejects.toThrow('changed again');
    expect(supervised.calls).toEqual(calls);
    expect(supervised.phases).toEqual(['Front#0 ready', `Back#0 ${phase}`]);
    supervised.hangs = false;
    await supervised.supervisor.reload('Back', new AbortController().signal);
    expect(supervised.phases).toEqual(['Front#0 ready', 'Back#0 ready']);
  });

  it('changes nothing if it is aborted before', async () => {
    const supervised = await new Supervised(pair({ httpPort: 8000 })).start();
    await expect(supervised.supervisor.reload('Back', AbortSignal.abort(new Error('before')))).rejects.toThrow(
      'before',
    );
    expect([supervised.calls, supervised.phases]).toEqual([[], ['Front#0 ready', 'Back#0 ready']]);
  });
});

describe('filesOfServices', () => {
  it('follows imports up to the modules of other services', () => {
    const modules = {
      imports: new Map([
        ['/p/graph.ts', ['/p/front.ts', '/p/index.ts']],
        ['/p/index.ts', ['/p/back.ts']],
        ['/p/front.ts', ['/p/back.ts', '/p/text.ts']],
        ['/p/back.ts', ['/p/text.ts', '/p/data.json']],
      ]),
    };
    const exporters = { Front: ['/p/front.ts'], Back: ['/p/index.ts', '/p/back.ts'] };
    expect(Object.fromEntries(filesOfServices(pair(), '/p/graph.ts', modules, exporters))).toEqual({
      Front: ['/p/front.ts', '/p/text.ts'],
      Back: ['/p/back.ts', '/p/data.json', '/p/text.ts'],
    });
    expect(filesOfServices(pair(), '/p/graph.ts', modules, { Back: ['/p/back.ts'] }).get('Front')).toEqual([
      '/p/front.ts',
      '/p/graph.ts',
      '/p/index.ts',
      '/p/text.ts',
    ]);
  });
});
