import { DistributedRuntime, type EngineWorker, Frontend, serveEngine } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { LoadedEngine } from '../../helpers/llm/engines.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const onEnd = closeAfterEach();

describe('an engine that publishes', () => {
  it('has publishers after it serves, and its load is in the metrics', async () => {
    const cluster = privateCluster();
    onEnd(() => cluster.remove());
    const runtime = await DistributedRuntime.create(cluster.options);
    onEnd(() => runtime.close());
    const engine = new LoadedEngine('counting');
    const served = await serveEngine(runtime.endpoint('test.backend.generate'), engine, { modelPath });
    onEnd(() => served.close());
    await served.ready;
    const worker = engine.worker as EngineWorker;
    expect(worker.workerId).toBe(runtime.instanceId);
    const blocks = [{ block_hash: 2n ** 63n + 1n, tokens_hash: 11 }];
    expect(
      worker.publishKvEvents([{ event_id: 1, data: { stored: { parent_hash: null, start_position: null, blocks } } }]),
    ).toBe(true);
    expect(
      worker.publishKvEvents([
        { event_id: 2, data: { removed: { block_hashes: [2n ** 63n + 1n] } } },
        { event_id: 3, data: 'cleared' },
      ]),
    ).toBe(true);
    expect(worker.publishKvEvents([], 5)).toBe(false);
    expect(worker.publishLoad({ kvUsedBlocks: 64, kvTotalBlocks: 256 })).toBe(true);
    await waitFor(
      'the gauge',
      () => runtime.metricsText(),
      (text) => /gpu_cache_usage\S* 0\.25/.test(text),
    );
    expect(await runtime.metricsText()).not.toMatch(/kv_cache_hit_rate/);
    expect(
      worker.publishLoad({ kvUsedBlocks: 64, kvTotalBlocks: 256, gpuCacheUsage: 0.75, kvCacheHitRate: 0.125 }),
    ).toBe(true);
    await waitFor(
      'the gauges',
      () => runtime.metricsText(),
      (text) => /gpu_cache_usage\S* 0\.75/.test(text) && /kv_cache_hit_rate\S* 0\.125/.test(text),
    );
    expect(() => worker.publishKvEvents([{ event_id: 1, data: 'gone' } as never])).toThrow(TypeError);
  });

  it('is discovered by a frontend that routes by KV', async () => {
    const cluster = privateCluster();
    onEnd(() => cluster.remove());
    const runtime = await DistributedRuntime.create(cluster.options);
    onEnd(() => runtime.close());
    const served = await serveEngine(runtime.endpoint('test.backend.generate'), new LoadedEngine('counting'), {
      modelPath,
    });
    onEnd(() => served.close());
    const frontend = await Frontend.start(cluster.options, {
      host: '127.0.0.1',
      port: 0,
      router: { mode: 'kv', kv: { router_temperature: 0 } },
    });
    onEnd(() => frontend.close());
    await frontend.waitForModel('counting');
    const response = await fetch(`${frontend.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'counting', messages: [{ role: 'user', content: 'count' }], max_tokens: 4 }),
    });
    expect(response.status, await response.text()).toBe(200);
  });
});
