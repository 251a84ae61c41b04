import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type EngineWorker,
  KV_ROUTER_DEFAULTS,
  type KvRouterConfig,
  type LLMEngine,
  modelParsers,
  registerModel,
  type ServeEngineOptions,
  startLog,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { cardOf, chat, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { FixedAnswerEngine, spell } from '../../helpers/llm/fixed-answer-engine.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

interface Answer {
  readonly choices: {
    message: {
      content: string | null;
      reasoning_content?: string;
      tool_calls?: { function: { name: string; arguments: string } }[];
    };
    finish_reason: string;
  }[];
  readonly usage: { prompt_tokens: number };
}

async function ask(
  text: string,
  options: ServeEngineOptions,
  body: object = {},
): Promise<{ answer: Answer; engine: FixedAnswerEngine }> {
  const here = deployment();
  const engine = new FixedAnswerEngine(text);
  await here.serve(engine, options);
  const frontend = await here.frontend();
  await frontend.waitForModel('parrot');
  const response = await chat(frontend, { model: 'parrot', ...body });
  expect(response.status, await response.clone().text()).toBe(200);
  return { answer: (await response.json()) as Answer, engine };
}

const tools = [
  {
    type: 'function',
    function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
  },
];

describe('the options of serveEngine', () => {
  it('toolCallParser extracts tool calls from the text of the model', async () => {
    const text = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>';
    const { answer } = await ask(text, { toolCallParser: 'hermes' }, { tools });
    const [choice] = answer.choices;
    expect(choice).toMatchObject({
      finish_reason: 'tool_calls',
      message: { tool_calls: [{ function: { name: 'weather' } }] },
    });
    expect(JSON.parse(choice?.message.tool_calls?.[0]?.function.arguments ?? '')).toEqual({ city: 'Bonn' });
    const plain = await ask(text, {}, { tools });
    expect(plain.answer.choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: expect.stringContaining('weather') },
    });
  });

  it('reasoningParser separates the reasoning from the answer', async () => {
    const { answer } = await ask('let me see</think>It rains.', { reasoningParser: 'deepseek_r1' });
    expect(answer.choices[0]?.message).toMatchObject({ content: 'It rains.', reasoning_content: 'let me see' });
  });

  it('an unknown parser is rejected at once', async () => {
    const { toolCall, reasoning } = modelParsers();
    expect(toolCall).toEqual(expect.arrayContaining(['hermes', 'mistral', 'llama3_json', 'qwen3_coder']));
    expect(reasoning).toEqual(expect.arrayContaining(['deepseek_r1', 'qwen3']));
    const here = deployment();
    await expect(here.serve(new FixedAnswerEngine(''), { toolCallParser: 'hermes2' })).rejects.toThrow(
      /serveEngine options\.toolCallParser: expected one of .*hermes.*, got "hermes2"/,
    );
    await expect(here.serve(new FixedAnswerEngine(''), { reasoningParser: 'qwen' })).rejects.toThrow(
      /options\.reasoningParser: expected one of/,
    );
  });

  it("chatTemplate replaces the model's own template, in serveEngine and registerModel", async () => {
    const chatTemplate = join(temporaryFolder(), 'template.jinja');
    writeFileSync(
      chatTemplate,
      "{% for message in messages %}{{ message['content'] }}{{ message['content'] }}{% endfor %}",
    );
    const { engine } = await ask('yes', { chatTemplate }, { messages: [{ role: 'user', content: 'zq zq' }] });
    const usual = await ask('yes', {}, { messages: [{ role: 'user', content: 'zq zq' }] });
    expect(engine.requests[0]?.token_ids.length).not.toBe(usual.engine.requests[0]?.token_ids.length);
    const here = deployment();
    const runtime = await here.runtime();
    const endpoint = runtime.endpoint<{ token_ids: number[] }, unknown>('test.card.generate');
    let prompt = 0;
    await endpoint.serve(({ token_ids }) => {
      prompt = token_ids.length;
      return { token_ids: spell('yes'), finish_reason: 'stop' };
    });
    await registerModel(endpoint, { modelPath, modelName: 'card', chatTemplate, userData: { owner: 'us' } });
    const frontend = await here.frontend();
    await frontend.waitForModel('card');
    expect((await chat(frontend, { model: 'card', messages: [{ role: 'user', content: 'zq zq' }] })).status).toBe(200);
    expect(prompt).toBe(engine.requests[0]?.token_ids.length);
  });

  it('servedModelName, aliases and modelName are the names that clients use', async () => {
    const named: LLMEngine = {
      start: () => ({
        model: 'house/parrot',
        servedModelName: 'polly',
        modelAliases: ['pol'],
        runtimeData: { feathers: 'green' },
        llm: { contextLength: 64, maxNumSeqs: 4 },
      }),
      async *generate() {
        yield { token_ids: spell('yes'), finish_reason: 'stop' };
      },
    };
    const here = deployment();
    await here.serve(named);
    const frontend = await here.frontend();
    await frontend.waitForModel('polly');
    for (const name of ['polly', 'pol']) expect((await chat(frontend, { model: name })).status).toBe(200);
    expect((await chat(frontend, { model: 'house/parrot' })).status).toBe(404);
  });

  it('kvRouting: false and localIndexer: false create no publisher', async () => {
    const published: boolean[] = [];
    class Publishing extends CountingEngine {
      override start(worker?: EngineWorker) {
        this.worker = worker;
        return super.start();
      }
      worker: EngineWorker | undefined;
      kvEventSources() {
        return [{ kind: 'push' as const }];
      }
    }
    for (const options of [{}, { kvRouting: false, localIndexer: false }]) {
      const engine = new Publishing('counting');
      await deployment().serve(engine, options);
      published.push(engine.worker?.publishKvEvents([{ event_id: 1, data: 'cleared' }]) ?? false);
    }
    expect(published).toEqual([true, false]);
  });

  it('the options for the frontend are on the card', async () => {
    const here = deployment();
    const card = async (options: ServeEngineOptions): Promise<Record<string, unknown>> => {
      const { runtime } = await here.serve(new FixedAnswerEngine(''), options);
      return cardOf(here, runtime.instanceId);
    };
    expect(
      await card({
        routeToEncoder: true,
        defaultThinkingMode: 'disabled',
        kvStateEndpoint: 'test.state.events',
        mediaDecoder: { image: { limits: { max_image_width: 64 } } },
        mediaFetcher: { user_agent: 'parrot/1', allow_direct_ip: true },
      }),
    ).toMatchObject({
      needs: [['encode']],
      runtime_config: {
        kv_state_endpoint: { namespace: 'test', component: 'state', name: 'events' },
        runtime_data: { default_thinking_mode: 'disabled' },
      },
      media_decoder: { image: { limits: { max_image_width: 64, max_image_height: null } } },
      media_fetcher: { user_agent: 'parrot/1', allow_direct_ip: true, allow_private_ips: false },
    });
    const usual = await card({});
    expect(usual).toMatchObject({
      media_decoder: null,
      media_fetcher: null,
      runtime_config: { structural_tag_mode: 'off' },
    });
    expect(usual['needs']).not.toEqual([['encode']]);
  });

  it('the documented defaults of the router equal those of the crates', async () => {
    const here = deployment();
    const routerOf = async (kv: KvRouterConfig): Promise<unknown> => {
      const runtime = await here.runtime();
      await registerModel(runtime.endpoint('test.card.generate'), { modelPath, router: { mode: 'kv', kv } });
      return cardOf(here, runtime.instanceId)['router_config'];
    };
    const usual = await routerOf({});
    expect(usual).toMatchObject({ kv_router_config: { overlap_score_credit: 1 } });
    expect(await routerOf(KV_ROUTER_DEFAULTS)).toEqual(usual);
    expect(await routerOf({ ...KV_ROUTER_DEFAULTS, conditional_disagg_eff_isl_threshold: 2049 })).not.toEqual(usual);
  });

  it('structuralTag constrains the output to the tools of the client', async () => {
    const forced = { tools, tool_choice: 'required' };
    const { engine } = await ask(
      '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>',
      { toolCallParser: 'hermes', structuralTag: {} },
      forced,
    );
    expect(JSON.stringify(engine.requests[0]?.sampling_options.guided_decoding)).toMatch(/structural_tag.*weather/);
    const { engine: free } = await ask(
      '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>',
      { toolCallParser: 'hermes', structuralTag: {} },
    );
    expect(JSON.stringify(free.requests[0]?.sampling_options.guided_decoding ?? null)).not.toMatch(/structural_tag/);
  });

  it.each([
    ['a tool may be called', { scope: 'always' }, {}, /"at_least_one":false/],
    ['a tool must be called', { scope: 'always' }, { tool_choice: 'required' }, /"at_least_one":true/],
    ['no tool may be called', { scope: 'always' }, { tool_choice: 'none' }, /^null$/],
    ['a tool may be called, and the scope is auto', { scope: 'auto' }, {}, /^null$/],
    ['a tool must be called, without a structuralTag', undefined, { tool_choice: 'required' }, /^\{"json":/],
  ])('structuralTag is sent to the engine by its scope if %s', async (_, structuralTag, body, expected) => {
    const text = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>';
    const options = { toolCallParser: 'hermes', ...(structuralTag === undefined ? {} : { structuralTag }) };
    const { engine } = await ask(text, options, { tools, ...body });
    expect(JSON.stringify(engine.requests[0]?.sampling_options.guided_decoding ?? null)).toMatch(expected);
  });

  it('a structuralTag that the frontend does not support hides the model, and the reason is logged', async () => {
    const lines: string[] = [];
    const log = startLog({ filter: 'warn', write: ({ message }) => void lines.push(message) });
    onTestFinished(() => log.close());
    const here = deployment();
    await here.serve(new FixedAnswerEngine('yes'), {
      toolCallParser: 'hermes',
      structuralTag: { exclude_special_tokens: true },
    });
    const frontend = await here.frontend();
    await waitFor(
      'the reason',
      () => lines,
      (seen) =>
        seen.some((line) => line.includes('structural_tag.exclude_special_tokens requires DYN_PARSER_VERSION=2')),
    );
    expect(await frontend.models()).toEqual([]);
    expect((await chat(frontend, { model: 'parrot' })).status).toBe(404);
  });

  it.each([
    ['nothing', undefined],
    ['enabled', 'enabled'],
    ['disabled', 'disabled'],
  ] as const)('defaultThinkingMode sets the thinking mode of the chat template: %s', async (expected, mode) => {
    const chatTemplate = join(temporaryFolder(), 'template.jinja');
    writeFileSync(
      chatTemplate,
      "{{ messages[0]['content'] }}: {{ thinking_mode | default('nothing') }} " +
        "{{ enable_thinking | default('nothing') }}",
    );
    const here = deployment();
    await here.serve(new FixedAnswerEngine('yes'), {
      chatTemplate,
      ...(mode === undefined ? {} : { defaultThinkingMode: mode }),
    });
    const frontend = await here.frontend();
    await frontend.waitForModel('parrot');
    const prompt = async (body: object): Promise<unknown> => {
      const events = await (
        await chat(frontend, { model: 'parrot', stream: true, nvext: { annotations: ['formatted_prompt'] }, ...body })
      ).text();
      return JSON.parse(/^event: formatted_prompt\n: (.*)$/m.exec(events)?.[1] ?? 'null');
    };
    expect(await prompt({})).toBe(
      `hello there: ${expected} ${{ nothing: 'nothing', enabled: 'True', disabled: 'False' }[expected]}`,
    );
    expect(await prompt({ chat_template_args: { enable_thinking: true } })).toMatch(/ True$/);
    expect(await prompt({ thinking: { type: 'disabled' } })).toMatch(/ False$/);
  });

  it('cleanupTimeoutMs limits a cleanup that never settles', async () => {
    class Stuck extends CountingEngine {
      override cleanup() {
        super.cleanup();
        return new Promise<void>(() => {});
      }
    }
    const engine = new Stuck('stuck');
    const { worker } = await deployment().serve(engine, { cleanupTimeoutMs: 300 });
    const began = performance.now();
    await worker.close();
    const took = performance.now() - began;
    expect(engine.cleaned).toBe(1);
    expect(took).toBeGreaterThan(290);
    expect(took).toBeLessThan(30_000);
  });

  it.each([
    [{ raw: 'yes' }, 'options.raw: expected a boolean, got "yes"'],
    [{ concurrency: 0 }, 'options.concurrency: expected an integer from 1'],
    [{ cleanupTimeoutMs: 2 ** 40 }, 'options.cleanupTimeoutMs: expected an integer from 1 to 2147483647'],
    [{ highWaterBytes: Number.NaN }, 'options.highWaterBytes: expected an integer'],
    [{ modelTypes: [] }, 'options.modelTypes: expected a list of model types, got an empty array'],
    [{ modelInput: 'token' }, 'options.modelInput: expected one of text, tokens, tensor, got "token"'],
    [{ mediaDecoder: 'jpeg' }, 'options.mediaDecoder: expected an object, got "jpeg"'],
    [{ defaultThinkingMode: 'on' }, 'options.defaultThinkingMode: expected one of enabled, disabled, got "on"'],
    [{ structuralTag: { scop: 'always' } }, 'options.structuralTag.scop: unknown name; known are scope, schema'],
    [{ structuralTag: { scope: 'sometimes' } }, 'serveEngine structuralTag: unknown variant `sometimes`'],
    [{ metricsLabels: { a: 1 } }, 'options.metricsLabels.a: expected a string, got 1'],
    [{ modelpath: 'x' }, 'options.modelpath: unknown option; known are modelPath'],
  ])('rejects %j', async (options, message) => {
    await expect(deployment().serve(new FixedAnswerEngine(''), options as never)).rejects.toThrow(message);
  });

  it.each([
    [null, 'serveEngine engine: expected an object, got null'],
    [{ start: () => ({}) }, 'serveEngine engine.generate: expected a function, got undefined'],
    [{ start: () => ({}), generate: () => {}, cleanup: 1 }, 'serveEngine engine.cleanup: expected a function, got 1'],
    [
      { start: () => ({}), generate: () => {}, controls: { sleep: true } },
      'serveEngine engine.controls.sleep: expected a function, got true',
    ],
    [
      { start: () => ({}), generate: () => {}, metricsRanks: [-1] },
      'serveEngine engine.metricsRanks[0]: expected an integer from 0',
    ],
  ])('rejects an invalid engine: %#', async (engine, message) => {
    await expect(deployment().serve(engine as never)).rejects.toThrow(message);
  });

  it.each<[string, unknown]>([
    ['gives no items', async () => undefined],
    [
      'yields nothing but undefined',
      async function* () {
        yield undefined;
      },
    ],
    [
      'yields words for token ids',
      async function* () {
        yield { token_ids: 'abc' };
      },
    ],
    [
      'yields a value that cannot be packed',
      async function* () {
        yield { token_ids: [], engine_data: Symbol('x') };
      },
    ],
    [
      'throws undefined',
      async function* () {
        throw undefined;
      },
    ],
  ])('reports a worker error, not a client error, if the engine %s', async (_, generate) => {
    const here = deployment();
    await here.serve({ start: () => ({ model: 'wrong' }), generate } as never);
    const frontend = await here.frontend();
    await frontend.waitForModel('wrong');
    const response = await chat(frontend, { model: 'wrong' });
    expect(response.status).toBe(500);
    expect((await chat(frontend, { model: 'wrong' })).status).toBe(500);
  });
});
