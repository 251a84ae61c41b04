import type { LLMEngineOutput, PreprocessedRequest, RequestContext } from 'dynamo-node';
import { type Script, ScriptedEngine } from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';

const request = { token_ids: [1, 2, 3] } as unknown as PreprocessedRequest;
const contextOf = (signal = new AbortController().signal) =>
  ({ id: 'one', metadata: {}, signal }) as unknown as RequestContext;

async function answer(engine: ScriptedEngine, signal?: AbortSignal): Promise<LLMEngineOutput[]> {
  const items: LLMEngineOutput[] = [];
  for await (const item of engine.generate(request, contextOf(signal))) items.push(item);
  return items;
}

const usage = (completion_tokens: number) => ({
  prompt_tokens: 3,
  completion_tokens,
  total_tokens: 3 + completion_tokens,
});

describe('ScriptedEngine', () => {
  it('answers with the items of its script, and ends with stop and the usage', async () => {
    const engine = new ScriptedEngine({ scripts: [[300, [301, 302], { delayMs: 1 }, 'text']] });
    expect(await answer(engine)).toEqual([
      { token_ids: [300] },
      { token_ids: [301, 302] },
      { token_ids: [0], text: 'text' },
      { token_ids: [], finish_reason: 'stop', completion_usage: usage(4) },
    ]);
  });

  it('answers each request by its own script, and the others by the last', async () => {
    const engine = new ScriptedEngine({ scripts: [[1, { finish: 'length' }, 2], [{ output: { token_ids: [5] } }]] });
    expect((await answer(engine)).at(-1)).toMatchObject({ finish_reason: 'length' });
    for (let index = 0; index < 2; index++) expect((await answer(engine))[0]).toEqual({ token_ids: [5] });
    expect(engine.requests.all.map(({ request }) => request)).toEqual([request, request, request]);
  });

  it('answers by a function of the request', async () => {
    const engine = new ScriptedEngine({ scripts: ({ token_ids }) => [token_ids.length] });
    expect((await answer(engine))[0]).toEqual({ token_ids: [3] });
  });

  it('fails with the class, the message and the reason of its script', async () => {
    const error = { error: 'CapacityExhausted', message: 'full', reason: 'engine.full' } as const;
    await expect(answer(new ScriptedEngine({ scripts: [[1, error]] }))).rejects.toMatchObject({
      code: 'DYN_CAPACITY_EXHAUSTED',
      message: 'full',
      reason: 'engine.full',
    });
  });

  it('hangs until the request is cancelled', async () => {
    const ending = new AbortController();
    setTimeout(() => ending.abort(), 20);
    expect(await answer(new ScriptedEngine({ scripts: [[1, { hang: true }, 2]] }), ending.signal)).toEqual([
      { token_ids: [1] },
    ]);
  });

  it.each<[unknown, string]>([
    [[], 'ScriptedEngine options.scripts: expected at least one script, got an empty array'],
    [[[-1]], 'ScriptedEngine options.scripts[0][0]: expected an integer from 0'],
    [[[1, { wait: 5 }]], 'ScriptedEngine options.scripts[0][1]: expected a token, an array of tokens, a text, or an'],
    [[[{ error: 'Full' }]], 'ScriptedEngine options.scripts[0][0].error: expected one of InvalidRequest'],
    [[[2 ** 32]], 'ScriptedEngine options.scripts[0][0]: expected an integer from 0 to 4294967295, got 4294967296'],
    [[[{ delayMs: 0.5 }]], 'ScriptedEngine options.scripts[0][0].delayMs: expected an integer'],
    [[[{ finish: null }]], 'ScriptedEngine options.scripts[0][0].finish: expected one of eos'],
    [[[{ finish: { reason: 'x' } }]], 'ScriptedEngine options.scripts[0][0].finish.reason: unknown name'],
    [[[{ output: { token_ids: ['x'] } }]], 'ScriptedEngine options.scripts[0][0].output.token_ids[0]: expected an int'],
    [[[{ output: [] }]], 'ScriptedEngine options.scripts[0][0].output: expected an object, got an empty array'],
    [[[{ delayMs: 5, then: 1 }]], 'ScriptedEngine options.scripts[0][0].then: unknown name; known are delayMs'],
  ])('rejects a wrong script with the path of the step', (scripts, message) => {
    expect(() => new ScriptedEngine({ scripts: scripts as Script[] })).toThrow(message);
  });

  it.each<[object, string]>([
    [{ model: ' ' }, 'ScriptedEngine options.model: expected a name, got " "'],
    [{ llm: { contextLength: -1 } }, 'ScriptedEngine options.llm.contextLength: expected an integer from 1'],
    [{ llm: { blockSize: 16 } }, 'ScriptedEngine options.llm.blockSize: unknown'],
    [{ llm: null }, 'ScriptedEngine options.llm: expected an object'],
  ])('rejects %j', (options, message) => {
    expect(() => new ScriptedEngine({ scripts: [[1]], ...options } as never)).toThrow(message);
  });

  it('counts the tokens of an item as it stands', async () => {
    const engine = new ScriptedEngine({ scripts: [[1, { output: { token_ids: [5, 6] } }]] });
    expect((await answer(engine)).at(-1)?.completion_usage).toEqual(usage(3));
  });
});
