import { CliError, EXIT } from './command.js';

/** The model of a frontend, and how it is asked. */
export interface ChatTarget {
  /** The address of the frontend. */
  readonly url: string;
  readonly model: string;
  readonly maxTokens: number | undefined;
  readonly temperature: number | undefined;
}

/** One message of a conversation. */
export interface ChatMessage {
  readonly role: 'user' | 'assistant';
  readonly content: string;
}

/** An answer with its figures. Times are in milliseconds since the request was sent. */
export interface ChatAnswer {
  readonly text: string;
  readonly tokensIn: number;
  readonly tokensOut: number;
  /** Undefined if no text came. */
  readonly firstTokenMs: number | undefined;
  readonly elapsedMs: number;
  /** Whether the caller's signal ended it. */
  readonly isStopped: boolean;
}

interface ChatChunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null };
  }[];
  readonly usage?: { readonly prompt_tokens?: number; readonly completion_tokens?: number } | null;
  readonly error?: unknown;
}

/** Options of one request. */
interface AskOptions {
  readonly signal: AbortSignal;
  /** Called with each piece of text. */
  readonly onText?: (text: string) => void;
}

/**
 * Sends a conversation to the chat API and reads the stream. An aborted signal ends it with the text so far.
 *
 * @throws CliError `E_REQUEST_FAILED` (69 if the frontend cannot be reached)
 */
export async function ask(
  { url, model, maxTokens, temperature }: ChatTarget,
  messages: readonly ChatMessage[],
  { signal, onText }: AskOptions,
): Promise<ChatAnswer> {
  const start = performance.now();
  let [text, chunks] = ['', 0];
  let firstTokenMs: number | undefined;
  let usage: ChatChunk['usage'];
  const answer = (isStopped: boolean): ChatAnswer => ({
    text,
    tokensIn: usage?.prompt_tokens ?? 0,
    tokensOut: usage?.completion_tokens ?? chunks,
    firstTokenMs,
    elapsedMs: performance.now() - start,
    isStopped,
  });
  try {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model,
        messages,
        stream: true,
        stream_options: { include_usage: true },
        ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
        ...(temperature === undefined ? {} : { temperature }),
      }),
      signal,
    });
    if (!response.ok || response.body === null) throw requestFailed(response.status, await response.text());
    for await (const chunk of chunksOf(response.body)) {
      usage = chunk.usage ?? usage;
      const delta = chunk.choices?.[0]?.delta;
      const piece = delta?.content ?? delta?.reasoning_content ?? '';
      if (piece === '') continue;
      firstTokenMs ??= performance.now() - start;
      chunks += 1;
      text += piece;
      onText?.(piece);
    }
    return answer(false);
  } catch (error) {
    if (signal.aborted) return answer(true);
    if (error instanceof CliError) throw error;
    const cause = (error as { cause?: unknown }).cause ?? error;
    throw new CliError('E_REQUEST_FAILED', `${url} does not answer: ${(cause as Error).message}`, {
      exitCode: EXIT.unavailable,
      cause: error,
    });
  }
}

function requestFailed(status: number | string, body: string): CliError {
  let message = body;
  try {
    const parsed = JSON.parse(body) as { message?: unknown; error?: { message?: unknown } | string };
    const found = typeof parsed.error === 'object' ? parsed.error.message : (parsed.error ?? parsed.message);
    message = typeof found === 'string' ? found : body;
  } catch {
    // The body is no JSON.
  }
  return new CliError('E_REQUEST_FAILED', `the model answers ${status}: ${message.trim() || 'nothing'}`);
}

/** The events of a stream of the chat API. */
async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<ChatChunk> {
  const decoder = new TextDecoder();
  let pending = '';
  let event = '';
  for await (const bytes of body) {
    const lines = (pending + decoder.decode(bytes, { stream: true })).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      if (line.startsWith('event:')) event = line.slice('event:'.length).trim();
      else if (line === '') event = '';
      const data = /^(?:data)?:(.*)$/.exec(line)?.[1]?.trim() ?? '';
      // The message of an error in the middle of a stream is a comment or the data of its event.
      if (event === 'error' && data !== '') throw requestFailed('an error', data);
      if (!line.startsWith('data:')) continue;
      if (data === '[DONE]') return;
      const chunk = JSON.parse(data) as ChatChunk;
      if (chunk.choices === undefined && chunk.error !== undefined) throw requestFailed('an error', data);
      yield chunk;
    }
  }
}
