import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { DynamoError, fetchModel } from '../../../lib/index.js';

// Nothing here may go out: the hub is a port on which nobody listens.
process.env['HF_ENDPOINT'] = 'http://127.0.0.1:9';

describe('fetchModel', () => {
  it('gives a local folder back', async () => {
    expect(resolve(await fetchModel(modelPath))).toBe(resolve(modelPath));
  });

  it('says which folder is not there', async () => {
    for (const missing of ['./nowhere', '/nowhere/at/all']) {
      await expect(fetchModel(missing)).rejects.toMatchObject({
        code: 'DYN_NOT_FOUND',
        message: expect.stringContaining(missing),
      });
    }
  });

  it('says what kept it from the hub', async () => {
    const fetched = fetchModel('dynamo-node-tests/no-such-model', { ignoreWeights: true });
    await expect(fetched).rejects.toBeInstanceOf(DynamoError);
    await expect(fetched).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      reason: 'model.fetch',
      message: expect.stringContaining('no-such-model'),
    });
  });

  it('is given up with its signal', async () => {
    const reason = new Error('enough');
    await expect(fetchModel('dynamo-node-tests/no-such-model', { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
  });

  it('checks its arguments', async () => {
    await expect(fetchModel(3 as never)).rejects.toThrow('fetchModel name: expected a string, got 3');
    await expect(fetchModel('x', { weights: false } as never)).rejects.toThrow(/options\.weights: unknown option/);
  });
});
