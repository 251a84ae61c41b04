import type { LLMEngine } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';

const deployment = deployments();

const engine = (runtimeData: Record<string, unknown>): LLMEngine => ({
  start: () => ({ model: 'described', runtimeData, llm: { contextLength: 64 } }),
  async *generate() {
    yield { token_ids: [300], finish_reason: 'stop' };
  },
});

describe('client.waitForInstances', () => {
  it('waits for workers by the runtime data of their engines', async () => {
    const here = deployment();
    const client = await (await here.runtime()).endpoint('test.backend.generate').client();
    const early = client.waitForInstances({ runtimeData: { role: 'writer' }, timeoutMs: 10_000 });
    const reader = await here.serve(engine({ role: 'reader', rank: 0 }));
    const writers = [
      await here.serve(engine({ role: 'writer', rank: 0, wide: { ways: [1, 2] } })),
      await here.serve(engine({ role: 'writer', rank: 1 })),
    ];
    const ids = writers.map(({ runtime }) => runtime.instanceId).sort();
    expect(ids).toContain((await early)[0]?.instanceId);
    const both = await client.waitForInstances({ runtimeData: { role: 'writer' }, count: 2, timeoutMs: 5000 });
    expect(both.map(({ instanceId }) => instanceId).sort()).toEqual(ids);
    expect(await client.waitForInstances({ runtimeData: { role: 'writer', wide: { ways: [1, 2] } } })).toMatchObject([
      { instanceId: writers[0]?.runtime.instanceId },
    ]);
    expect(await client.waitForInstances({ runtimeData: {}, count: 3 })).toHaveLength(3);
    expect(await client.waitForInstances({ runtimeData: { role: 'reader' } })).toMatchObject([
      { instanceId: reader.runtime.instanceId },
    ]);
    const none = client.waitForInstances({ runtimeData: { role: 'reader', rank: 1 }, timeoutMs: 200 });
    await expect(none).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      message: expect.stringMatching(/expected 1 instances with this runtimeData within 200 ms, got 3 in total/),
    });
    await expect(client.waitForInstances({ runtimeData: 'writer' as never })).rejects.toThrow(
      'options.runtimeData: expected an object, got "writer"',
    );
    await expect(client.waitForInstances({ runtimeData: { role: Symbol('x') } })).rejects.toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      message: expect.stringContaining('options.runtimeData cannot be sent: role: a symbol'),
    });
    const last = client.waitForInstances({ runtimeData: { role: 'unknown' } });
    await client.close();
    await expect(last).rejects.toMatchObject({ code: 'DYN_CLOSED' });
  });
});
