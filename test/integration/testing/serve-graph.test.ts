import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ClosedError } from 'dynamo-node';
import { serveGraph, startCluster } from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';

import { Front } from '../../helpers/deploy/graphs/serve.js';
import { SERVE_GRAPH } from '../../helpers/deploy/serve.js';
import { root } from '../../helpers/project.js';

/** Under it, the graph finds the sources of this repository by their published names. */
const env = { TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json') };

describe('serveGraph', () => {
  it('runs a process a worker, restarts one that was killed, and answers after one was paused', async (test) => {
    const served = await serveGraph(SERVE_GRAPH, { test, env, overrides: ['--Splitter.ServiceArgs.workers=2'] });
    const front = await served.client(Front);
    expect(await front.generate('a b')).toBe('A-B');
    const before = served.worker('Splitter', 1).pid;
    served.kill('Splitter', 1);
    await served.waitFor('the restart', () => {
      const { phase, restarts, pid } = served.worker('Splitter', 1);
      return phase === 'ready' && restarts === 1 && pid !== before;
    });
    expect(served.output).toContain('[dynamo] Splitter#1 crashed: its process was ended by SIGKILL');

    served.pause('Upper');
    const paused = front.generate('c d', { timeoutMs: 20_000 });
    expect(await Promise.race([paused, new Promise((resolve) => setTimeout(resolve, 300, 'paused'))])).toBe('paused');
    served.resume('Upper');
    expect(await paused).toBe('C-D');
    await served.scale({ Splitter: 1 });
    expect(() => served.worker('Splitter', 1)).toThrow('Splitter#1: the graph has no such worker');
    expect(() => served.kill('Splitter', 1)).toThrow('Splitter#1: the graph has no such process');
  });

  it('rejects with ClosedError if its cluster closes while it starts, and leaves no folder', async () => {
    for (const delayMs of [0, 200]) {
      const cluster = await startCluster();
      const served = serveGraph(SERVE_GRAPH, { cluster, env }).catch((error: unknown) => error);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      await cluster.close();
      expect(await served).toBeInstanceOf(ClosedError);
      expect(existsSync(cluster.folder)).toBe(false);
    }
  });

  it('rejects with the reason of a worker that does not start', async () => {
    await expect(serveGraph(SERVE_GRAPH, { env, overrides: ['--Splitter.mode=throw'] })).rejects.toThrow(
      'Splitter#0 did not start: no such model',
    );
    await expect(serveGraph(SERVE_GRAPH, { overrides: ['--Nobody.mode=throw'] })).rejects.toThrow('unknown service');
  });
});
