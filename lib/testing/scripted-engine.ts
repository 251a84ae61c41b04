import { setTimeout as after } from 'node:timers/promises';
import {
  checkArray,
  checkInteger,
  checkNames,
  checkObject,
  checkOneOf,
  checkString,
  MAX_TIMEOUT_MS,
  MAX_U32,
  wrongType,
} from '../check.js';
import { DynamoError, type ErrorClass } from '../errors.js';
import { HTTP_STATUSES } from '../http-status.js';
import type { EngineConfig, LLMEngine, LlmRegistration } from '../llm/engine.js';
import type { FinishReason, LLMEngineOutput, PreprocessedRequest } from '../llm/protocol.js';
import { boolean, custom, integer, nested, type OptionTable, optionTable, text } from '../options.js';
import type { RequestContext } from '../runtime/context.js';
import { RecordedRequests } from './recorded-requests.js';

/**
 * One step of an answer. A number is an item with one token, an array an item with several, a string an item with that
 * text.
 */
export type ScriptStep =
  | number
  | readonly number[]
  | string
  /** Waits. */
  | { readonly delayMs: number }
  /** Ends the answer with this reason. Without it, an answer ends with `stop`. */
  | { readonly finish: FinishReason }
  /** Fails. The caller gets the class and the reason. */
  | { readonly error: ErrorClass; readonly message?: string; readonly reason?: string }
  /** Waits until the request is cancelled. */
  | { readonly hang: true }
  /** An item as it stands. */
  | { readonly output: LLMEngineOutput };

/** The answer to one request. */
export type Script = readonly ScriptStep[];

/** What a scripted engine says of itself, and what it answers. */
export interface ScriptedEngineOptions {
  /** @default 'scripted' */
  readonly model?: string;
  /**
   * The answers to the first, the second and further requests. The last one answers all that follow. A function makes
   * the answer of each request.
   */
  readonly scripts: readonly Script[] | ((request: PreprocessedRequest) => Script);
  /** What it advertises. @default `{ contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 }` */
  readonly llm?: LlmRegistration;
}

const TOKEN_OF_TEXT = 0;

const checkToken = (path: string, value: unknown): void => checkInteger(path, value, 0, MAX_U32);

function checkTokens(path: string, value: unknown): void {
  checkArray(path, value, 'tokens');
  value.forEach((token, index) => checkToken(`${path}[${index}]`, token));
}

/** The kinds of steps that are objects: the check of each field. */
const STEPS: Readonly<Record<string, (path: string, value: unknown) => void>> = {
  delayMs: (path, value) => checkInteger(path, value, 0, MAX_TIMEOUT_MS),
  finish: (path, value) => {
    if (typeof value !== 'object' || value === null)
      return checkOneOf(path, value, ['eos', 'length', 'stop', 'cancelled', 'content_filter']);
    checkNames(path, value, ['error']);
    checkString(`${path}.error`, (value as { readonly error?: unknown }).error);
  },
  error: (path, value) => checkOneOf(path, value, Object.keys(HTTP_STATUSES)),
  hang: (path, value) => {
    if (value !== true) wrongType(path, 'true', value);
  },
  output: (path, value) => {
    checkObject(path, value);
    checkTokens(`${path}.token_ids`, value['token_ids']);
  },
};

const FIELDS_OF_ERROR = ['message', 'reason'] as const;

function checkStep(path: string, step: unknown): void {
  if (typeof step === 'string') return;
  if (typeof step === 'number') return checkToken(path, step);
  if (Array.isArray(step)) return checkTokens(path, step);
  const kinds = Object.keys(STEPS);
  const kind = kinds.find((name) => typeof step === 'object' && step !== null && name in step);
  if (kind === undefined)
    return wrongType(path, `a token, an array of tokens, a text, or an object with one of ${kinds.join(', ')}`, step);
  const fields = step as Record<string, unknown>;
  checkNames(path, step, kind === 'error' ? [kind, ...FIELDS_OF_ERROR] : [kind]);
  STEPS[kind]?.(`${path}.${kind}`, fields[kind]);
  for (const name of FIELDS_OF_ERROR) if (fields[name] !== undefined) checkString(`${path}.${name}`, fields[name]);
}

function checkScript(path: string, script: unknown): void {
  checkArray(path, script, 'steps');
  script.forEach((step, index) => checkStep(`${path}[${index}]`, step));
}

function checkScripts(path: string, scripts: unknown): void {
  if (typeof scripts === 'function') return;
  checkArray(path, scripts, 'scripts');
  if (scripts.length === 0) wrongType(path, 'at least one script', scripts);
  scripts.forEach((script, index) => checkScript(`${path}[${index}]`, script));
}

const count = integer(1, MAX_U32);

const OPTIONS: OptionTable<ScriptedEngineOptions> = optionTable<ScriptedEngineOptions>({
  model: custom<string>('a name', (path, value) => {
    if (typeof value !== 'string' || value.trim() === '') wrongType(path, 'a name', value);
  }).about('The name of its model.'),
  scripts: custom<ScriptedEngineOptions['scripts']>('an array of scripts, or a function', checkScripts)
    .required()
    .about('The answers to the first, the second and further requests.'),
  llm: nested(
    optionTable<LlmRegistration>({
      contextLength: count,
      kvCacheBlockSize: count,
      totalKvBlocks: count,
      maxNumSeqs: count,
      maxNumBatchedTokens: count,
      maxGpuLoraCount: integer(0, MAX_U32),
      dataParallelSize: count,
      dataParallelStartRank: integer(0, MAX_U32),
      enableEagle: boolean,
      bootstrapHost: text,
      bootstrapPort: integer(0, 65_535),
    }),
  ).about('What it advertises.'),
});

const LLM: LlmRegistration = { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 };

/**
 * An engine whose answers are data. It records its requests.
 *
 * @example
 * import { serveEngine } from 'dynamo-node';
 * import { ScriptedEngine, testRuntime } from 'dynamo-node/testing';
 *
 * const engine = new ScriptedEngine({
 *   scripts: [[300, 301, { delayMs: 50 }, 302], [{ error: 'CapacityExhausted', message: 'full' }]],
 * });
 * await using runtime = await testRuntime();
 * const endpoint = runtime.endpoint('dynamo.backend.generate');
 * await using worker = await serveEngine(endpoint, engine, { modelPath: './my-model' });
 */
export class ScriptedEngine implements LLMEngine {
  readonly requests: RecordedRequests<PreprocessedRequest>;
  readonly #options: ScriptedEngineOptions;
  #answered = 0;

  /** @throws TypeError, RangeError that names the step */
  constructor(options: ScriptedEngineOptions) {
    OPTIONS.check('ScriptedEngine options', options);
    this.#options = options;
    this.requests = new RecordedRequests(`engine ${options.model ?? 'scripted'}`);
  }

  start(): EngineConfig {
    const { model = 'scripted', llm = LLM } = this.#options;
    return { model, llm };
  }

  async *generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    this.requests.record(request, context);
    let tokens = 0;
    for (const step of this.#next(request)) {
      if (context.signal.aborted) return;
      if (typeof step === 'object' && !Array.isArray(step)) {
        const fields = step as Exclude<ScriptStep, number | string | readonly number[]>;
        if ('delayMs' in fields) await after(fields.delayMs, undefined, { signal: context.signal }).catch(() => {});
        if ('hang' in fields) await after(MAX_TIMEOUT_MS, undefined, { signal: context.signal }).catch(() => {});
        if ('error' in fields) throw errorOf(fields);
        if ('output' in fields) {
          tokens += fields.output.token_ids.length;
          yield fields.output;
        }
        if ('finish' in fields) return yield this.#last(request, tokens, fields.finish);
        continue;
      }
      const item = itemOf(step as number | string | readonly number[]);
      tokens += item.token_ids.length;
      yield item;
    }
    if (!context.signal.aborted) yield this.#last(request, tokens, 'stop');
  }

  #next(request: PreprocessedRequest): Script {
    const { scripts } = this.#options;
    const index = this.#answered++;
    if (typeof scripts !== 'function') return scripts[Math.min(index, scripts.length - 1)] as Script;
    const script = scripts(request);
    checkScript(`ScriptedEngine script of request ${index}`, script);
    return script;
  }

  #last(request: PreprocessedRequest, completion_tokens: number, finish_reason: FinishReason): LLMEngineOutput {
    const prompt_tokens = request.token_ids.length;
    const total_tokens = prompt_tokens + completion_tokens;
    return { token_ids: [], finish_reason, completion_usage: { prompt_tokens, completion_tokens, total_tokens } };
  }
}

function itemOf(step: number | string | readonly number[]): LLMEngineOutput {
  if (typeof step === 'string') return { token_ids: [TOKEN_OF_TEXT], text: step };
  return { token_ids: typeof step === 'number' ? [step] : step };
}

function errorOf({ error, message = 'the script says so', reason }: Extract<ScriptStep, { error: ErrorClass }>): Error {
  return new DynamoError(error, message, {
    details: { type: 'message', message },
    ...(reason === undefined ? {} : { reason }),
  });
}
