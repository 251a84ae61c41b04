import { DynamoError, type Frontend, type LLMEngine } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments, serverSentEvents } from '../../helpers/llm/deployments.js';

const deployment = deployments();

/** A frontend with an engine that throws before its first item. */
async function failing(error: () => unknown): Promise<Frontend> {
  const here = deployment();
  const engine: LLMEngine = {
    start: () => ({ model: 'failing', llm: { contextLength: 4096 } }),
    async *generate() {
      throw error();
    },
  };
  await here.serve(engine);
  const frontend = await here.frontend();
  await frontend.waitForModel('failing');
  return frontend;
}

const message = 'max_tokens must be even';

/** An error of a call that the engine makes, which is not for the client. */
function ofCall(): unknown {
  return new DynamoError('InvalidRequest', message, { operation: 'client.unary' });
}

const CASES: [string, () => unknown, number, string][] = [
  ['an invalid request', () => new DynamoError('InvalidRequest', message), 400, message],
  [
    'an invalid request with details',
    () => new DynamoError('InvalidRequest', 'for the log', { details: { type: 'message', message } }),
    400,
    message,
  ],
  ['an invalid request of a call of the engine', ofCall, 400, 'Invalid request'],
  ['another class', () => new DynamoError('PermissionDenied', 'for the log'), 403, 'Permission denied'],
  ['a TypeError', () => new TypeError('for the log'), 500, 'Internal server error'],
  ['a RangeError', () => new RangeError('for the log'), 500, 'Internal server error'],
  ['an Error', () => new Error('for the log'), 500, 'Internal server error'],
];

describe('an error of an engine before its first item', () => {
  it.each(CASES)('is the HTTP status, and an event of a stream: %s', async (_, error, status, shown) => {
    const frontend = await failing(error);
    const whole = await chat(frontend, { model: 'failing' });
    expect([whole.status, await whole.json()]).toEqual([
      status,
      expect.objectContaining({ code: status, message: shown }),
    ]);
    const streamed = await chat(frontend, { model: 'failing', stream: true });
    const [first] = await serverSentEvents(streamed);
    expect(streamed.status).toBe(200);
    expect(JSON.parse(first?.data ?? '')).toMatchObject({ error: { code: status, message: shown } });
  });
});
