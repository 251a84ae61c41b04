import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ChatChunk, HttpFrontendOptions, ProcessorFactory } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { chat, deployments, post, serverSentEvents } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

async function counting(options: HttpFrontendOptions, engine = new CountingEngine('counting')) {
  const here = deployment();
  await here.serve(engine);
  const frontend = await here.frontend(options);
  await frontend.waitForModel('counting');
  return { frontend, engine };
}

const chunk = (
  delta: Record<string, unknown>,
  finish_reason: ChatChunk['choices'][number]['finish_reason'] = null,
): ChatChunk => ({ choices: [{ index: 0, delta, finish_reason }] });

/** Generates reasoning, then a tool call. */
const thinking: ProcessorFactory = () => ({
  async *process() {
    yield chunk({ role: 'assistant', reasoning_content: 'let me ' });
    yield chunk({ reasoning_content: 'see' });
    yield chunk({ content: 'asking' });
    yield chunk({
      tool_calls: [
        { index: 0, id: 'call-1', type: 'function', function: { name: 'weather', arguments: '{"city":"Bonn"}' } },
      ],
    });
    yield chunk({}, 'tool_calls');
  },
});

describe('the options of the HTTP frontend', () => {
  it('requestTemplate adds missing fields to a request', async () => {
    const requestTemplate = join(temporaryFolder(), 'template.json');
    writeFileSync(requestTemplate, JSON.stringify({ model: 'counting', temperature: 0.25, max_completion_tokens: 7 }));
    const { frontend } = await counting({ requestTemplate });
    const response = await chat(frontend, { model: '' });
    expect(await response.json()).toMatchObject({ model: 'counting', usage: { completion_tokens: 7 } });
  });

  it('an invalid requestTemplate prevents the start of the frontend', async () => {
    const requestTemplate = join(temporaryFolder(), 'template.json');
    await expect(deployment().frontend({ requestTemplate })).rejects.toThrow();
  });

  it('tokenizerFallback decides whether a model is offered if the fast tokenizer cannot load', async () => {
    const model = join(temporaryFolder(), 'model');
    cpSync(modelPath, model, { recursive: true });
    const file = join(model, 'tokenizer.json');
    writeFileSync(
      file,
      JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), normalizer: { type: 'Lowercase' } }),
    );
    const here = deployment();
    await here.serve(new CountingEngine('counting'), { modelPath: model });
    const frontend = await here.frontend({ tokenizer: 'basetenkenizer', tokenizerFallback: true });
    await frontend.waitForModel('counting');
    expect((await chat(frontend, { model: 'counting', max_tokens: 2 })).status).toBe(200);
    const strict = await here.frontend({ tokenizer: 'basetenkenizer', tokenizerFallback: false });
    await expect(strict.waitForModel('counting', { timeoutMs: 2000 })).rejects.toThrow(/models seen: none/);
  });

  it('metricsPrefix renames the metrics', async () => {
    const { frontend } = await counting({ metricsPrefix: 'own_frontend' });
    await (await chat(frontend, { model: 'counting', max_tokens: 1 })).text();
    const text = await waitFor(
      'the count',
      async () => (await fetch(`${frontend.url}/metrics`)).text(),
      (all) => /^own_frontend_requests_total\{/m.test(all),
    );
    expect(text).not.toMatch(/^dynamo_frontend_requests_total\{/m);
  });

  it.each(['default', 'fastokens', 'basetenkenizer'] as const)(
    'tokenizer %s returns the same tokens',
    async (tokenizer) => {
      const { frontend } = await counting({ tokenizer });
      const response = await chat(frontend, {
        model: 'counting',
        max_tokens: 1,
        messages: [{ role: 'user', content: 'What is a block of the KV cache?' }],
      });
      const { usage } = (await response.json()) as { usage: { prompt_tokens: number } };
      const other = await counting({});
      const reference = await chat(other.frontend, {
        model: 'counting',
        max_tokens: 1,
        messages: [{ role: 'user', content: 'What is a block of the KV cache?' }],
      });
      expect(usage.prompt_tokens).toBe(
        ((await reference.json()) as { usage: { prompt_tokens: number } }).usage.prompt_tokens,
      );
    },
  );

  it('streamingReasoningDispatch sends the reasoning as a separate event', async () => {
    const events = async (options: HttpFrontendOptions) => {
      const { frontend } = await counting({ processor: thinking, ...options });
      return serverSentEvents(await chat(frontend, { model: 'counting', stream: true }));
    };
    const dispatched = (await events({ streamingReasoningDispatch: true })).filter(
      ({ event }) => event === 'reasoning_dispatch',
    );
    expect(dispatched).toHaveLength(1);
    expect(dispatched[0]?.data).toContain('let me see');
    expect(
      (await events({ streamingReasoningDispatch: false })).some(({ event }) => event === 'reasoning_dispatch'),
    ).toBe(false);
  });

  it('streamingToolDispatch sends a tool call as a separate event', async () => {
    const events = async (options: HttpFrontendOptions) => {
      const { frontend } = await counting({ processor: thinking, ...options });
      return serverSentEvents(await chat(frontend, { model: 'counting', stream: true }));
    };
    const dispatched = (await events({ streamingToolDispatch: true })).filter(
      ({ event }) => event === 'tool_call_dispatch',
    );
    expect(dispatched).toHaveLength(1);
    expect(dispatched[0]?.data).toContain('weather');
    expect((await events({ streamingToolDispatch: false })).some(({ event }) => event === 'tool_call_dispatch')).toBe(
      false,
    );
  });

  it.each(['reasoning', 'reasoning_content'] as const)(
    'reasoningField %s names the field of the reasoning',
    async (reasoningField) => {
      const { frontend } = await counting({ processor: thinking, reasoningField });
      const { choices } = (await (await chat(frontend, { model: 'counting' })).json()) as {
        choices: { message: Record<string, unknown> }[];
      };
      expect(choices[0]?.message[reasoningField]).toBe('let me see');
      expect(choices[0]?.message[reasoningField === 'reasoning' ? 'reasoning_content' : 'reasoning']).toBeUndefined();
    },
  );

  it('stripAnthropicPreamble removes the billing line from the prompt', async () => {
    const tokens = async (stripAnthropicPreamble: boolean) => {
      const { frontend } = await counting({ anthropicApi: true, stripAnthropicPreamble });
      const system = 'x-anthropic-billing-header: cc_version=1.2.3; cch=00000;\nBe brief.';
      const response = await post(frontend, '/v1/messages', {
        model: 'counting',
        max_tokens: 1,
        system,
        messages: [{ role: 'user', content: 'hello' }],
      });
      return ((await response.json()) as { usage: { input_tokens: number } }).usage.input_tokens;
    };
    expect(await tokens(false)).toBeGreaterThan(await tokens(true));
  });

  it('migrationMaxTokens and migrationLimit are accepted', async () => {
    const { frontend } = await counting({ migrationLimit: 1, migrationMaxTokens: 64 });
    expect((await chat(frontend, { model: 'counting', max_tokens: 2 })).status).toBe(200);
  });

  it('an unknown sessionAffinityMode, busy threshold and KV option are rejected by name', async () => {
    const here = deployment();
    await expect(here.frontend({ router: { kv: { router_temperature: 'hot' } } as never })).rejects.toThrow(
      /router\.kv/,
    );
    await expect(here.frontend({ router: { busy: { activeDecodeBlocks: 'many' } } as never })).rejects.toThrow(
      /busy\.activeDecodeBlocks: expected a number/,
    );
    await expect(here.frontend({ router: { sessionAffinityMode: 'firm' } as never })).rejects.toThrow(
      /sessionAffinityMode: expected one of hard, soft/,
    );
  });
});
