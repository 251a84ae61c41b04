import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelPath, TinyLlamaEngine } from '../../examples/tiny-llama/engine.js';
import { DistributedRuntime, Frontend, serveEngine, type ServedEngine } from '../../lib/index.js';
import { privateCluster } from '../helpers/cluster.js';
import { CountingEngine } from '../helpers/engines.js';
import { Parrot } from '../helpers/parrot.js';
import { waitFor } from '../helpers/wait.js';

const QUESTION = 'What is a block of the KV cache?';
const cluster = privateCluster();
let runtime: DistributedRuntime;
let frontend: Frontend;
let tiny: ServedEngine;
let slow: ServedEngine;
let caller: ServedEngine;
let client: OpenAI;
const slowEngine = new CountingEngine('slow', 10);

beforeAll(async () => {
  process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';
  runtime = await DistributedRuntime.create(cluster.options);
  frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0 });
  tiny = await serveEngine(runtime.endpoint('openai.backend.generate'), new TinyLlamaEngine(), { modelPath });
  slow = await serveEngine(runtime.endpoint('openai.slow.generate_slow'), slowEngine, { modelPath, modelName: 'slow' });
  const call = new Parrot('<tool_call>\n{"name": "look_up", "arguments": {"term": "block"}}\n</tool_call>');
  caller = await serveEngine(runtime.endpoint('openai.caller.generate_call'), call, { modelPath, modelName: 'caller', toolCallParser: 'hermes' });
  await Promise.all([tiny.ready, slow.ready, caller.ready]);
  await frontend.waitForModel('tiny-llama');
  await frontend.waitForModel('slow');
  await frontend.waitForModel('caller');
  client = new OpenAI({ baseURL: `${frontend.url}/v1`, apiKey: 'none', maxRetries: 0 });
}, 60_000);

afterAll(async () => {
  await frontend?.close();
  await Promise.all([tiny?.close(), slow?.close(), caller?.close()]);
  await runtime?.close();
  await cluster.remove();
});

const messages = [{ role: 'user' as const, content: QUESTION }];

describe('chat completions', () => {
  let answer: string;

  it('answers in one piece', async () => {
    const completion = await client.chat.completions.create({ model: 'tiny-llama', messages, max_tokens: 200, temperature: 0 });
    const [choice] = completion.choices;
    answer = choice?.message.content ?? '';
    expect(answer).toMatch(/tokens/);
    expect(choice?.finish_reason).toBe('stop');
    expect(completion.usage?.completion_tokens).toBeGreaterThan(5);
  });

  it('streams the same answer', async () => {
    const stream = await client.chat.completions.create({
      model: 'tiny-llama',
      messages,
      max_tokens: 200,
      temperature: 0,
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

  it('ends at max_tokens', async () => {
    const completion = await client.chat.completions.create({ model: 'tiny-llama', messages, max_tokens: 3, temperature: 0 });
    expect(completion.choices[0]?.finish_reason).toBe('length');
    expect(completion.usage?.completion_tokens).toBe(3);
  });

  it('ends before a stop string', async () => {
    const word = answer.split(' ')[3] as string;
    const completion = await client.chat.completions.create({ model: 'tiny-llama', messages, temperature: 0, stop: [word] });
    expect(completion.choices[0]?.finish_reason).toBe('stop');
    expect(completion.choices[0]?.message.content).toBe(answer.slice(0, answer.indexOf(word)));
  });

  it('reports log probabilities', async () => {
    const completion = await client.chat.completions.create({
      model: 'tiny-llama',
      messages,
      max_tokens: 5,
      temperature: 0,
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
    expect(content.map(({ token }) => token).join('')).toBe(answer.slice(0, content.map(({ token }) => token).join('').length));
  });

  it('gives n choices', async () => {
    const completion = await client.chat.completions.create({ model: 'tiny-llama', messages, max_tokens: 200, temperature: 0.8, seed: 7, n: 3 });
    expect(completion.choices.map(({ index }) => index).sort()).toEqual([0, 1, 2]);
    for (const { message, finish_reason } of completion.choices) {
      expect(message.content?.length).toBeGreaterThan(0);
      expect(finish_reason).toBe('stop');
    }
  });

  it('repeats itself with a seed', async () => {
    const ask = () => client.chat.completions.create({ model: 'tiny-llama', messages, max_tokens: 20, temperature: 1, seed: 42 });
    const [first, second] = await Promise.all([ask(), ask()]);
    expect(first.choices[0]?.message.content).toBe(second.choices[0]?.message.content);
  });

  it('gives the calls of tools that the model makes, whole and streamed', async () => {
    const tools = [{ type: 'function' as const, function: { name: 'look_up', parameters: { type: 'object', properties: { term: { type: 'string' } } } } }];
    const asked = { model: 'caller', messages, tools };
    const completion = await client.chat.completions.create(asked);
    const called = { type: 'function', function: { name: 'look_up', arguments: expect.stringMatching(/^\{\s*"term":\s*"block"\s*\}$/) } };
    expect(completion.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: [called] } });
    const deltas: OpenAI.Chat.Completions.ChatCompletionChunk.Choice.Delta.ToolCall[] = [];
    for await (const { choices } of await client.chat.completions.create({ ...asked, stream: true })) deltas.push(...(choices[0]?.delta.tool_calls ?? []));
    expect(deltas[0]?.function?.name).toBe('look_up');
    expect(JSON.parse(deltas.map((delta) => delta.function?.arguments ?? '').join(''))).toEqual({ term: 'block' });
  });

  it('takes tools and answers in words', async () => {
    const completion = await client.chat.completions.create({
      model: 'tiny-llama',
      messages,
      max_tokens: 20,
      temperature: 0,
      tools: [{ type: 'function', function: { name: 'look_up', parameters: { type: 'object', properties: { term: { type: 'string' } } } } }],
    });
    expect(completion.choices[0]?.message.tool_calls ?? []).toHaveLength(0);
    expect(completion.choices[0]?.message.content?.length).toBeGreaterThan(0);
  });

  it('answers many at a time', async () => {
    const asked = Array.from({ length: 16 }, () =>
      client.chat.completions.create({ model: 'tiny-llama', messages, max_tokens: 12, temperature: 0 }),
    );
    const contents = (await Promise.all(asked)).map(({ choices }) => choices[0]?.message.content);
    expect(new Set(contents).size).toBe(1);
  });
});

describe('completions', () => {
  it('continue a prompt, in one piece and streamed', async () => {
    const body = { model: 'tiny-llama', prompt: 'A block of the KV cache', max_tokens: 12, temperature: 0 };
    const { choices } = await client.completions.create(body);
    const parts: string[] = [];
    for await (const part of await client.completions.create({ ...body, stream: true })) parts.push(part.choices[0]?.text ?? '');
    expect(choices[0]?.text.length).toBeGreaterThan(0);
    expect(parts.join('')).toBe(choices[0]?.text);
  });
});

describe('errors', () => {
  it('of an unknown model are 404', async () => {
    await expect(client.chat.completions.create({ model: 'nobody', messages })).rejects.toMatchObject({ status: 404 });
  });

  it('of a bad request are 400', async () => {
    await expect(client.chat.completions.create({ model: 'tiny-llama', messages, temperature: 9 })).rejects.toMatchObject({ status: 400 });
  });

  it('of a prompt beyond the context are 400', async () => {
    const long = [{ role: 'user' as const, content: 'cache '.repeat(6000) }];
    await expect(client.chat.completions.create({ model: 'tiny-llama', messages: long })).rejects.toMatchObject({ status: 400 });
  });
});

describe('aborts', () => {
  it('reach the engine', async () => {
    const stream = await client.chat.completions.create({ model: 'slow', messages, max_tokens: 5000, stream: true });
    for await (const _part of stream) break;
    const id = await waitFor('the abort', () => slowEngine.aborted.at(-1), (seen) => seen !== undefined);
    expect(slowEngine.seen.map((each) => each.id)).toContain(id);
    await waitFor('the end of the generation', () => slow.inFlight, (running) => running === 0);
  });
});
