import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { RequestError } from './request-guard.js';
import type { ChosenWorkers, FrontendTiming } from './trace-spans.js';

const TIMEOUT_MS = 120_000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_ERROR_CHARACTERS = 500;
const EXTRA_FIELDS = ['timing', 'worker_id', 'prompt_token_ids'];

/** An answer as this process saw it. Times are milliseconds since the request was sent. */
export interface TracedAnswer {
  /** The id of the request at the frontend and its workers, if the answer names it. */
  readonly requestId: string | undefined;
  readonly sentAtMs: number;
  readonly firstTokenMs: number | undefined;
  readonly totalMs: number;
  readonly timing: FrontendTiming | undefined;
  readonly chosen: ChosenWorkers;
  /** The tokens of the prompt, for the explanation of the router only. */
  readonly promptTokenIds: readonly number[];
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly cachedTokens: number | undefined;
  readonly error: string | undefined;
}

interface Usage {
  readonly prompt_tokens?: number;
  readonly completion_tokens?: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null;
}

/** An item of the stream of a frontend. Its fields are data of another process. */
interface Item {
  readonly id?: unknown;
  readonly choices?: readonly {
    readonly delta?: { readonly content?: unknown; readonly reasoning_content?: unknown };
    readonly text?: unknown;
  }[];
  readonly usage?: Usage | null;
  readonly error?: unknown;
  readonly nvext?: {
    readonly timing?: FrontendTiming | null;
    readonly worker_id?: Readonly<Record<string, unknown>> | null;
    readonly prompt_token_ids?: readonly unknown[] | null;
  } | null;
}

const API = {
  chat: {
    path: '/v1/chat/completions',
    body: (prompt: string) => ({ messages: [{ role: 'user', content: prompt }] }),
  },
  completions: { path: '/v1/completions', body: (prompt: string) => ({ prompt }) },
} as const;

/** The models that a frontend lists. @throws Error if it does not answer */
export async function modelsOf(url: string): Promise<string[]> {
  const response = await fetch(new URL('/v1/models', url), { signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${url} answered with status ${response.status}`);
  const { data } = (await response.json()) as { data?: readonly { id?: unknown }[] };
  return (data ?? []).flatMap(({ id }) => (typeof id === 'string' ? [id] : []));
}

/** Instance ids have 64 bits, which numbers of JSON lose. So they are read as text. */
function withLargeIds(text: string): string {
  return text.replace(/"(prefill_worker_id|decode_worker_id)"\s*:\s*(\d+)/g, '"$1":"$2"');
}

const hasText = ({ choices = [] }: Item): boolean =>
  choices.some(({ delta, text }) =>
    [delta?.content, delta?.reasoning_content, text].some((each) => each !== undefined && each !== null && each !== ''),
  );

/** Collects what the items of one answer say. */
class AnswerReader {
  requestId: string | undefined;
  firstTokenMs: number | undefined;
  timing: FrontendTiming | undefined;
  chosen: ChosenWorkers = {};
  usage: Usage = {};
  promptTokenIds: readonly number[] = [];
  error: string | undefined;

  take(data: string, atMs: number): void {
    const item = JSON.parse(withLargeIds(data)) as Item;
    if (typeof item.id === 'string') this.requestId ??= item.id.replace(/^[a-z]+-/, '');
    if (hasText(item)) this.firstTokenMs ??= atMs;
    if (item.error !== undefined && item.error !== null)
      this.error = JSON.stringify(item.error).slice(0, MAX_ERROR_CHARACTERS);
    if (item.usage !== undefined && item.usage !== null) this.usage = item.usage;
    const { timing, worker_id: workers, prompt_token_ids: tokens } = item.nvext ?? {};
    if (Array.isArray(tokens) && tokens.every((token) => Number.isInteger(token))) this.promptTokenIds = tokens;
    if (timing !== undefined && timing !== null) this.timing = timing;
    const idOf = (name: string): string | undefined => {
      const id = workers?.[name];
      return typeof id === 'string' ? id : undefined;
    };
    const [prefill, decode] = [idOf('prefill_worker_id'), idOf('decode_worker_id')];
    this.chosen = {
      ...this.chosen,
      ...(prefill === undefined ? {} : { prefill }),
      ...(decode === undefined ? {} : { decode }),
    };
  }
}

async function readItems(body: ReadableStream, since: number, reader: AnswerReader): Promise<void> {
  let bytes = 0;
  const stream = Readable.fromWeb(body).on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) stream.destroy(new Error(`the answer has more than ${MAX_ANSWER_BYTES} bytes`));
  });
  let event = '';
  for await (const line of createInterface({ input: stream })) {
    if (line.startsWith('event:')) event = line.slice('event:'.length).trim();
    if (line === '') event = '';
    if (!line.startsWith('data:')) {
      if (event === 'error' && line.startsWith(':')) reader.error = line.slice(1).trim().slice(0, MAX_ERROR_CHARACTERS);
      continue;
    }
    const data = line.slice('data:'.length).trim();
    if (data !== '[DONE]') reader.take(data, performance.now() - since);
  }
}

/** Sends a prompt to a frontend and reads the answer. A failed request is a result, not an error. */
export async function sendTraced(
  url: string,
  { prompt, model, maxTokens }: { readonly prompt: string; readonly model: string; readonly maxTokens: number },
): Promise<TracedAnswer> {
  const reader = new AnswerReader();
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  let since = performance.now();
  for (const { path, body } of [API.chat, API.completions]) {
    since = performance.now();
    try {
      const response = await fetch(new URL(path, url), {
        method: 'POST',
        signal,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          ...body(prompt),
          model,
          max_tokens: maxTokens,
          stream: true,
          stream_options: { include_usage: true },
          nvext: { extra_fields: EXTRA_FIELDS },
        }),
      });
      if (response.ok && response.body !== null) {
        await readItems(response.body as ReadableStream, since, reader);
        break;
      }
      const text = (await response.text()).slice(0, MAX_ERROR_CHARACTERS);
      reader.error = `the frontend answered with status ${response.status}: ${text}`;
      // A model without chat template is not listed for chat.
      if (response.status !== 404) break;
    } catch (error) {
      reader.error = error instanceof Error ? error.message : String(error);
      break;
    }
    if (path === API.completions.path) break;
    reader.error = undefined;
  }
  const { requestId, firstTokenMs, timing, chosen, usage, promptTokenIds, error } = reader;
  return {
    ...{ requestId, firstTokenMs, timing, chosen, promptTokenIds, error },
    sentAtMs: performance.timeOrigin + since,
    totalMs: performance.now() - since,
    inputTokens: usage.prompt_tokens,
    outputTokens: usage.completion_tokens,
    cachedTokens: usage.prompt_tokens_details?.cached_tokens,
  };
}

/** The model of a traced request. @throws RequestError if there is none */
export async function tracedModel(url: string, wanted: string | undefined): Promise<string> {
  if (wanted !== undefined) return wanted;
  const [model] = await modelsOf(url).catch((error: unknown) => {
    throw new RequestError(502, 'E_FRONTEND', `the models of the frontend cannot be read: ${(error as Error).message}`);
  });
  if (model === undefined) throw new RequestError(409, 'E_NO_MODEL', 'the frontend lists no model');
  return model;
}
