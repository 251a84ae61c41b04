import {
  DistributedRuntime,
  DynamoError,
  Frontend,
  type PreprocessedRequest,
  type ServedEngine,
  serveEngine,
} from 'dynamo-node';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelPath, TinyLlamaEngine } from '../../../examples/tiny-llama/engine.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { FixedAnswerEngine } from '../../helpers/llm/fixed-answer-engine.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

const QUESTION = 'What is a block of the KV cache?';
const cluster = privateCluster();
let runtime: DistributedRuntime;
let frontend: Frontend;
let tiny: ServedEngine;
let slow: ServedEngine;
let caller: ServedEngine;
let broken: ServedEngine;
let client: OpenAI;
const slowEngine = new CountingEngine('slow', 10);

/** Throws after its first letter. With `typed`, it throws an error whose message is for the client. */
class BrokenEngine extends FixedAnswerEngine {
  override async *generate(request: PreprocessedRequest) {
    for await (const item of super.generate(request)) {
      yield item;
      if (request.stop_conditions.max_tokens === TYPED)
        throw new DynamoError('RateLimited', 'for the log', { details: { type: 'message', message: 'not so fast' } });
      throw new Error('internal');
    }
  }
}

const TYPED = 7;

beforeAll(async () => {
  process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';
  runtime = await DistributedRuntime.create(cluster.options);
  frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0 });
  tiny = await serveEngine(runtime.endpoint('openai.backend.generate'), new TinyLlamaEngine(), { modelPath });
  slow = await serveEngine(runtime.endpoint('openai.slow.generate_slow'), slowEngine, { modelPath, modelName: 'slow' });
  const call = new FixedAnswerEngine('<tool_call>\n{"name": "look_up", "arguments": {"term": "block"}}\n</tool_call>');
  caller = await serveEngine(runtime.endpoint('openai.caller.generate_call'), call, {
    modelPath,
    modelName: 'caller',
    toolCallParser: 'hermes',
  });
  broken = await serveEngine(runtime.endpoint('openai.broken.generate_broken'), new BrokenEngine('ab'), {
    modelPath,
    modelName: 'broken',
  });
  await Promise.all([tiny.ready, slow.ready, caller.ready, broken.ready]);
  await frontend.waitForModel('tiny-llama');
  await frontend.waitForModel('slow');
  await frontend.waitForModel('caller');
  await frontend.waitForModel('broken');
  client = new OpenAI({ baseURL: `${frontend.url}/v1`, apiKey: 'none', maxRetries: 0 });
}, 60_000);

afterAll(async () => {
  await frontend?.close();
  await Promise.all([tiny?.close(), slow?.close(), caller?.close(), broken?.close()]);
  await runtime?.close();
  await cluster.remove();
});

const messages = [{ role: 'user' as const, content: QUESTION }];
const question = { model: 'tiny-llama', messages, temperature: 0 };

interface Streamed {
  text: string;
  tokens: string[];
  finish: string | null;
}

/** The content of a stream, by the index of the choice. */
async function streamed(stream: AsyncIterable<OpenAI.Chat.ChatCompletionChunk>): Promise<Streamed[]> {
  const content: Streamed[] = [];
  for await (const { choices } of stream) {
    for (const { index, delta, finish_reason, logprobs } of choices) {
      const choice = (content[index] ??= { text: '', tokens: [], finish: null });
      choice.text += delta.content ?? '';
      choice.tokens.push(
        ...(logprobs?.content ?? []).map(({ token, top_logprobs: [top] }) => `${token}=${top?.token}`),
      );
      choice.finish = finish_reason ?? choice.finish;
    }
  }
  return content;
}

async function streamedText(stream: AsyncIterable<OpenAI.Completion>): Promise<Streamed[]> {
  const content: Streamed[] = [];
  for await (const { choices } of stream) {
    for (const { index, text, finish_reason, logprobs } of choices) {
      const choice = (content[index] ??= { text: '', tokens: [], finish: null });
      choice.text += text;
      choice.tokens.push(...(logprobs?.tokens ?? []));
      // By the client's type, the field is always present.
      choice.finish = (finish_reason as string | null | undefined) ?? choice.finish;
    }
  }
  return content;
}

describe('chat completions', () => {
  let answer: string;

  it('return a whole answer', async () => {
    const completion = await client.chat.completions.create({ ...question, max_tokens: 200 });
    const [choice] = completion.choices;
    answer = choice?.message.content ?? '';
    expect(answer).toMatch(/tokens/);
    expect(choice?.finish_reason).toBe('stop');
    expect(completion.usage?.completion_tokens).toBeGreaterThan(5);
  });

  it('stream the same answer', async () => {
    const stream = await client.chat.completions.create({
      ...question,
      max_tokens: 200,
      stream: true,
      stream_options: { include_usage: true },
    });
    const parts: string[] = [];
    let finish: string | null = null;
    let usage: number | undefined;
    for await (const { choices, usage: counted } of stream) {
      parts.push(choices[0]?.delta.content ?? '');
      finish = choices[0]?.finish_reason ?? finish;
      usage = counted?.completion_tokens ?? usage;
    }
    expect(parts.join('')).toBe(answer);
    expect(parts.filter((part) => part !== '').length).toBeGreaterThan(3);
    expect(finish).toBe('stop');
    expect(usage).toBeGreaterThan(5);
  });

  it('end at max_tokens', async () => {
    const completion = await client.chat.completions.create({ ...question, max_tokens: 3 });
    expect(completion.choices[0]?.finish_reason).toBe('length');
    expect(completion.usage?.completion_tokens).toBe(3);
  });

  it('end before a stop string', async () => {
    const word = answer.split(' ')[3] as string;
    const completion = await client.chat.completions.create({ ...question, stop: [word] });
    expect(completion.choices[0]?.finish_reason).toBe('stop');
    expect(completion.choices[0]?.message.content).toBe(answer.slice(0, answer.indexOf(word)));
  });

  it('return log probabilities', async () => {
    const completion = await client.chat.completions.create({
      ...question,
      max_tokens: 5,
      logprobs: true,
      top_logprobs: 3,
    });
    const content = completion.choices[0]?.logprobs?.content ?? [];
    expect(content).toHaveLength(5);
    for (const { logprob, top_logprobs: top } of content) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top).toHaveLength(3);
      expect(Math.max(...top.map((each) => each.logprob))).toBe(top[0]?.logprob);
      expect(top[0]?.logprob).toBeCloseTo(logprob, 5);
    }
    expect(content.map(({ token }) => token).join('')).toBe(
      answer.slice(0, content.map(({ token }) => token).join('').length),
    );
  });

  it('return n choices', async () => {
    const completion = await client.chat.completions.create({
      ...question,
      max_tokens: 200,
      temperature: 0.8,
      seed: 7,
      n: 3,
    });
    expect(completion.choices.map(({ index }) => index).sort()).toEqual([0, 1, 2]);
    for (const { message, finish_reason } of completion.choices) {
      expect(message.content?.length).toBeGreaterThan(0);
      expect(finish_reason).toBe('stop');
    }
  });

  it('stream n choices, each complete', async () => {
    const request = { ...question, max_tokens: 200, temperature: 0.8, seed: 7, n: 3 };
    const { choices } = await client.chat.completions.create(request);
    const whole = choices.map(({ message, finish_reason }) => ({
      text: message.content,
      tokens: [],
      finish: finish_reason,
    }));
    expect(await streamed(await client.chat.completions.create({ ...request, stream: true }))).toEqual(whole);
  });

  it('stream log probabilities, each with its token', async () => {
    const request = { ...question, max_tokens: 5, logprobs: true, top_logprobs: 2 };
    const [choice] = await streamed(await client.chat.completions.create({ ...request, stream: true }));
    expect(choice?.tokens).toHaveLength(5);
    const tokens = choice?.tokens.map((pair) => pair.split('=')) ?? [];
    expect(tokens.map(([token]) => token).join('')).toBe(choice?.text);
    expect(tokens.map(([, likeliest]) => likeliest)).toEqual(tokens.map(([token]) => token));
    expect(choice?.finish).toBe('length');
  });

  it('stream nothing after a stop string', async () => {
    const word = answer.split(' ')[3] as string;
    const stream = await client.chat.completions.create({ ...question, stop: [word], stream: true });
    expect(await streamed(stream)).toEqual([
      { text: answer.slice(0, answer.indexOf(word)), tokens: [], finish: 'stop' },
    ]);
  });

  it('return the same answer with the same seed', async () => {
    const ask = () => client.chat.completions.create({ ...question, max_tokens: 20, temperature: 1, seed: 42 });
    const [first, second] = await Promise.all([ask(), ask()]);
    expect(first.choices[0]?.message.content).toBe(second.choices[0]?.message.content);
  });

  it('return tool calls, whole and streamed', async () => {
    const tools = [
      {
        type: 'function' as const,
        function: { name: 'look_up', parameters: { type: 'object', properties: { term: { type: 'string' } } } },
      },
    ];
    const request = { model: 'caller', messages, tools };
    const completion = await client.chat.completions.create(request);
    const called = {
      type: 'function',
      function: { name: 'look_up', arguments: expect.stringMatching(/^\{\s*"term":\s*"block"\s*\}$/) },
    };
    expect(completion.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: [called] } });
    const deltas: OpenAI.Chat.Completions.ChatCompletionChunk.Choice.Delta.ToolCall[] = [];
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true }))
      deltas.push(...(choices[0]?.delta.tool_calls ?? []));
    expect(deltas[0]?.function?.name).toBe('look_up');
    expect(JSON.parse(deltas.map((delta) => delta.function?.arguments ?? '').join(''))).toEqual({ term: 'block' });
  });

  it('accept tools and return text', async () => {
    const completion = await client.chat.completions.create({
      model: 'tiny-llama',
      messages,
      max_tokens: 20,
      temperature: 0,
      tools: [
        {
          type: 'function',
          function: { name: 'look_up', parameters: { type: 'object', properties: { term: { type: 'string' } } } },
        },
      ],
    });
    expect(completion.choices[0]?.message.tool_calls ?? []).toHaveLength(0);
    expect(completion.choices[0]?.message.content?.length).toBeGreaterThan(0);
  });

  it('run concurrently', async () => {
    const request = Array.from({ length: 16 }, () => client.chat.completions.create({ ...question, max_tokens: 12 }));
    const contents = (await Promise.all(request)).map(({ choices }) => choices[0]?.message.content);
    expect(new Set(contents).size).toBe(1);
  });
});

describe('completions', () => {
  it('continue a prompt, whole and streamed', async () => {
    const body = { model: 'tiny-llama', prompt: 'A block of the KV cache', max_tokens: 12, temperature: 0 };
    const { choices } = await client.completions.create(body);
    const parts: string[] = [];
    for await (const part of await client.completions.create({ ...body, stream: true }))
      parts.push(part.choices[0]?.text ?? '');
    expect(choices[0]?.text.length).toBeGreaterThan(0);
    expect(parts.join('')).toBe(choices[0]?.text);
  });

  const body = { model: 'tiny-llama', prompt: 'A block of the KV cache', temperature: 0 };

  it('return n choices, whole and streamed', async () => {
    const request = { ...body, max_tokens: 300, temperature: 0.8, seed: 7, n: 3 };
    const { choices, usage } = await client.completions.create(request);
    expect(choices.map(({ index, finish_reason }) => [index, finish_reason])).toEqual(
      [0, 1, 2].map((index) => [index, 'stop']),
    );
    expect(new Set(choices.map(({ text }) => text)).size).toBeGreaterThan(1);
    expect(usage?.completion_tokens).toBeGreaterThan(15);
    const whole = choices.map(({ text, finish_reason }) => ({ text, tokens: [], finish: finish_reason }));
    expect(await streamedText(await client.completions.create({ ...request, stream: true }))).toEqual(whole);
  });

  it('report only for the last choice that max_tokens ended it', async () => {
    const { choices } = await client.completions.create({ ...body, max_tokens: 2, temperature: 0.8, seed: 7, n: 2 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1]);
    expect(choices.map((choice) => (choice.finish_reason as string | undefined) ?? null)).toEqual([null, 'length']);
  });

  it('end before a stop string, whole and streamed', async () => {
    const request = { ...body, max_tokens: 12 };
    const {
      choices: [free],
    } = await client.completions.create(request);
    const stop = free?.text.split(' ')[3] as string;
    const before = free?.text.slice(0, free.text.indexOf(stop));
    const {
      choices: [choice],
    } = await client.completions.create({ ...request, stop });
    expect(choice).toMatchObject({ text: before, finish_reason: 'stop' });
    expect(
      await streamedText(await client.completions.create({ ...request, stop: ['none of it', stop], stream: true })),
    ).toEqual([{ text: before, tokens: [], finish: 'stop' }]);
  });

  it('return log probabilities, whole and streamed', async () => {
    const request = { ...body, max_tokens: 4, logprobs: 2 };
    const {
      choices: [choice],
    } = await client.completions.create(request);
    const { tokens = [], token_logprobs: each = [], top_logprobs: top = [] } = choice?.logprobs ?? {};
    expect(tokens).toHaveLength(4);
    expect(tokens.join('')).toBe(choice?.text);
    tokens.forEach((token, index) => {
      expect(Object.keys(top[index] ?? {})).toHaveLength(2);
      expect(top[index]?.[token]).toBeCloseTo(each[index] as number, 5);
      expect(Math.max(...Object.values(top[index] ?? {}))).toBe(top[index]?.[token]);
    });
    expect(await streamedText(await client.completions.create({ ...request, stream: true }))).toEqual([
      { text: choice?.text, tokens, finish: 'length' },
    ]);
  });

  it('answer several prompts, each with its index', async () => {
    const prompts = ['A block', 'The KV cache'];
    const { choices } = await client.completions.create({ ...body, prompt: prompts, max_tokens: 4 });
    const alone = await Promise.all(
      prompts.map((prompt) => client.completions.create({ ...body, prompt, max_tokens: 4 })),
    );
    expect(choices.map(({ index, text }) => [index, text])).toEqual(
      alone.map((one, index) => [index, one.choices[0]?.text]),
    );
  });
});

describe('models', () => {
  it('are listed, and can be read by name', async () => {
    const names: string[] = [];
    for await (const { id } of client.models.list()) names.push(id);
    expect(names.sort()).toEqual(['broken', 'caller', 'slow', 'tiny-llama']);
    expect(await client.models.retrieve('slow')).toMatchObject({ id: 'slow', object: 'model' });
    await expect(client.models.retrieve('unknown')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });
});

describe('errors', () => {
  it('have status 404 for an unknown model', async () => {
    await expect(client.chat.completions.create({ model: 'unknown', messages })).rejects.toMatchObject({ status: 404 });
    await expect(client.completions.create({ model: 'unknown', prompt: QUESTION })).rejects.toBeInstanceOf(
      OpenAI.NotFoundError,
    );
    await expect(client.chat.completions.create({ model: 'unknown', messages, stream: true })).rejects.toBeInstanceOf(
      OpenAI.NotFoundError,
    );
  });

  it.each([
    ['temperature', { temperature: 9 }],
    ['top_p', { top_p: 3 }],
    ['n', { n: 0 }],
    ['n without a temperature', { n: 2, temperature: 0 }],
    ['logprobs', { logprobs: 9 }],
    ['max_tokens', { max_tokens: 'many' as never }],
    ['prompt', { prompt: '' }],
    ['stop', { stop: Array.from({ length: 40 }, (_, index) => `${index}`) }],
  ])('have status 400 for completions with an invalid %s', async (_, bad) => {
    await expect(
      client.completions.create({ model: 'tiny-llama', prompt: QUESTION, max_tokens: 4, ...bad }),
    ).rejects.toBeInstanceOf(OpenAI.BadRequestError);
  });

  it('have status 400 for an invalid request', async () => {
    await expect(client.chat.completions.create({ ...question, temperature: 9 })).rejects.toMatchObject({
      status: 400,
    });
  });

  it('have status 400 for a prompt beyond the context length', async () => {
    const long = [{ role: 'user' as const, content: 'cache '.repeat(6000) }];
    await expect(client.chat.completions.create({ model: 'tiny-llama', messages: long })).rejects.toMatchObject({
      status: 400,
    });
  });
});

describe('a worker that throws after its first item', () => {
  /** Reads a stream to its end. Returns its content and its error. */
  async function read<Part>(
    stream: AsyncIterable<Part>,
    text: (part: Part) => string | null | undefined,
  ): Promise<{ content: string; error: unknown }> {
    let content = '';
    try {
      for await (const part of stream) content += text(part) ?? '';
    } catch (error) {
      return { content, error };
    }
    return { content, error: undefined };
  }

  it.each([
    [
      'an error of the engine',
      undefined,
      500,
      { type: 'internal_server_error', code: 500, message: 'Internal server error' },
    ],
    ['a DynamoError for the client', TYPED, 429, { type: 'rate_limit_error', code: 429, message: 'not so fast' }],
  ])(
    'sends a status for a whole answer, and an error after the item for a stream: %s',
    async (_, max_tokens, status, expected) => {
      const [chat, text] = [
        { model: 'broken', messages, max_tokens: max_tokens ?? null },
        { model: 'broken', prompt: QUESTION, max_tokens: max_tokens ?? null },
      ];
      await expect(client.chat.completions.create(chat)).rejects.toMatchObject({ status });
      await expect(client.completions.create(text)).rejects.toMatchObject({ status });
      const chatted = await read(
        await client.chat.completions.create({ ...chat, stream: true }),
        ({ choices }) => choices[0]?.delta.content,
      );
      expect(chatted).toEqual({ content: 'a', error: expect.any(OpenAI.APIError) });
      expect(chatted.error).toMatchObject(expected);
      const completed = await read(
        await client.completions.create({ ...text, stream: true }),
        ({ choices }) => choices[0]?.text,
      );
      expect(completed).toEqual({ content: 'a', error: expect.any(OpenAI.APIError) });
      expect(completed.error).toMatchObject(expected);
      expect(broken.inFlight).toBe(0);
    },
  );
});

describe('aborts', () => {
  it('reach the engine of a stream', async () => {
    const stream = await client.chat.completions.create({ model: 'slow', messages, max_tokens: 5000, stream: true });
    for await (const _part of stream) break;
    const id = await waitFor(
      'the abort',
      () => slowEngine.aborted.at(-1),
      (seen) => seen !== undefined,
    );
    expect(slowEngine.seen.map((each) => each.id)).toContain(id);
    await waitFor(
      'the end of the generation',
      () => slow.inFlight,
      (running) => running === 0,
    );
  });

  it.each([
    [
      'chat',
      (signal: AbortSignal) =>
        client.chat.completions.create({ model: 'slow', messages, max_tokens: 4000 }, { signal }),
    ],
    [
      'a completion',
      (signal: AbortSignal) =>
        client.completions.create({ model: 'slow', prompt: QUESTION, max_tokens: 4000 }, { signal }),
    ],
  ])('reach the engine of a call that does not stream: %s', async (_, call) => {
    const before = slowEngine.seen.length;
    const abort = new AbortController();
    const called = expect(call(abort.signal)).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    const { id } = await waitFor(
      'the request',
      () => slowEngine.seen[before] as { id: string },
      (seen) => seen !== undefined,
    );
    expect(slowEngine.aborted).not.toContain(id);
    abort.abort();
    await called;
    await waitFor(
      'the abort',
      () => slowEngine.aborted,
      (aborted) => aborted.includes(id),
    );
    // 4000 tokens take 40 s. Only an aborted signal ends it earlier.
    await waitFor(
      'the end of the generation',
      () => slow.inFlight,
      (running) => running === 0,
    );
  });
});
