import { type DistributedRuntime, KvRouter } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'test.backend.generate';
const deploy = deployments();

describe('a KV router with minInitialWorkers: 2', () => {
  /** This file is separate, because the setting is fixed for the life of a process. */
  it('starts when two workers are present', async () => {
    const deployment = deploy({ minInitialWorkers: 2 });
    const runtime: DistributedRuntime = await deployment.runtime();
    let made: KvRouter | undefined;
    const making = KvRouter.create(runtime.endpoint(PATH), { blockSize: 16 }).then((router) => (made = router));
    onTestFinished(async () => (await making).close());
    await deployment.serve(new CountingEngine('counting'));
    const client = await runtime.endpoint(PATH).client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(made).toBeUndefined();
    await deployment.serve(new CountingEngine('counting'));
    await waitFor('the router', () => made);
    expect(await made?.overlapScores({ tokens: new Uint32Array(32) })).toHaveLength(2);
    // Dynamo's own value does not conflict with an absent option.
    const { runtime: another } = deploy({
      minInitialWorkers: 2,
      codec: 'msgpack',
      systemPort: -1,
      canary: false,
      maxMessageBytes: 32 << 20,
    });
    await another();
    await expect(deploy({ minInitialWorkers: 1 }).runtime()).rejects.toMatchObject({
      code: 'DYN_CONFLICT',
      message: expect.stringContaining('DYN_ROUTER_MIN_INITIAL_WORKERS=1'),
    });
  });
});
