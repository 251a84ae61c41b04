import { resolve } from 'node:path';
import { DynamoError, fetchModel } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';

// No test may use the network: the address of the hub is a closed port.
process.env['HF_ENDPOINT'] = 'http://127.0.0.1:9';

describe('fetchModel', () => {
  it('returns a local folder unchanged', async () => {
    expect(resolve(await fetchModel(modelPath))).toBe(resolve(modelPath));
  });

  it('rejects a missing folder and names it', async () => {
    for (const missing of ['./nowhere', '/nowhere/at/all']) {
      await expect(fetchModel(missing)).rejects.toMatchObject({
        code: 'DYN_NOT_FOUND',
        message: expect.stringContaining(missing),
      });
    }
  });

  it('rejects with the reason if the hub is unreachable', async () => {
    const fetched = fetchModel('dynamo-node-tests/no-such-model', { ignoreWeights: true });
    await expect(fetched).rejects.toBeInstanceOf(DynamoError);
    await expect(fetched).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      reason: 'model.fetch',
      message: expect.stringContaining('no-such-model'),
    });
  });

  it('rejects with the reason of an aborted signal', async () => {
    const reason = new Error('enough');
    await expect(fetchModel('dynamo-node-tests/no-such-model', { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
  });

  it('rejects invalid arguments', async () => {
    await expect(fetchModel(3 as never)).rejects.toThrow('fetchModel name: expected a string, got 3');
    await expect(fetchModel('x', { weights: false } as never)).rejects.toThrow(/options\.weights: unknown option/);
  });
});
