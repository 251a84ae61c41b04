import { DynamoError, type Frontend, type LLMEngine } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments, serverSentEvents } from '../../helpers/llm/deployments.js';
import { spell } from '../../helpers/llm/fixed-answer-engine.js';

const deployment = deployments();

/** The frontends of this process share the value. */
const preCommitErrorPeekMs = 20_000;

async function start(): Promise<Frontend> {
  const here = deployment();
  const engine: LLMEngine = {
    start: () => ({ model: 'model', llm: { contextLength: 4096 } }),
    async *generate({ stop_conditions: { max_tokens } }) {
      if (max_tokens === 1) throw new DynamoError('InvalidRequest', 'more tokens');
      yield { token_ids: spell('a') };
      if (max_tokens === 2) throw new DynamoError('InvalidRequest', 'too late');
      yield { token_ids: spell('b'), finish_reason: 'stop' };
    },
  };
  await here.serve(engine);
  const frontend = await here.frontend({ preCommitErrorPeekMs });
  await frontend.waitForModel('model');
  return frontend;
}

describe('preCommitErrorPeekMs', () => {
  it('makes an error before the first item of a stream an HTTP status', async () => {
    const frontend = await start();
    const stream = (max_tokens: number) => chat(frontend, { model: 'model', stream: true, max_tokens });
    const refused = await stream(1);
    expect([refused.status, await refused.json()]).toEqual([400, expect.objectContaining({ message: 'more tokens' })]);
    const late = await stream(2);
    expect([late.status, JSON.stringify(await serverSentEvents(late))]).toEqual([
      200,
      expect.stringContaining('too late'),
    ]);
    const whole = await stream(3);
    expect([whole.status, (await serverSentEvents(whole)).at(-1)?.data]).toEqual([200, '[DONE]']);
  });

  it('has one value in a process', async () => {
    await start();
    await expect(deployment().frontend({ preCommitErrorPeekMs: 1 })).rejects.toMatchObject({
      code: 'DYN_CONFLICT',
      message: expect.stringContaining('DYN_HTTP_PRE_COMMIT_ERROR_PEEK_MS=1 was requested'),
    });
    await expect(deployment().frontend({ preCommitErrorPeekMs: -1 })).rejects.toThrow(
      /preCommitErrorPeekMs: expected an integer from 0 to/,
    );
  });
});
