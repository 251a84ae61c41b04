import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { waitFor } from '../../lib/testing/wait.js';

/** A request for a completion of token ids. */
export interface CompletionRequest {
  readonly model: string;
  readonly prompt: readonly number[];
  readonly answerTokens: number;
}

/** A streamed answer as its client saw it. Times are milliseconds since the request. */
export interface StreamedAnswer {
  readonly firstPartMs: number;
  /** Parts with text. Events that arrive together count once. */
  readonly textMs: readonly number[];
  readonly totalMs: number;
  /** Tokens of the prompt that a worker had cached. */
  readonly cachedTokens: number;
}

const FIRST_ID = 10;
const IDS = 990;
const SERVED_MS = 60_000;

/** A token id that every model here has. Numbers that are 990 apart have the same one. */
export const tokenId = (number: number): number => FIRST_ID + (Math.floor(number) % IDS);

// One connection per request: on kept ones the first token waits for the kernel's delayed acknowledgement.
const agent = new Agent({ keepAlive: false });

/** Requests a completion from the frontend at a port of this machine. @throws Error unless the answer is complete */
export async function streamedCompletion(port: number, wanted: CompletionRequest): Promise<StreamedAnswer> {
  const { model, prompt, answerTokens } = wanted;
  const body = JSON.stringify({
    model,
    prompt,
    max_tokens: answerTokens,
    ignore_eos: true,
    stream: true,
    stream_options: { include_usage: true },
  });
  const begin = performance.now();
  const sent = request({
    agent,
    port,
    host: '127.0.0.1',
    path: '/v1/completions',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.setEncoding('utf8');
  const textMs: number[] = [];
  let firstPartMs: number | undefined;
  let text = '';
  for await (const part of response) {
    const atMs = performance.now() - begin;
    firstPartMs ??= atMs;
    text += part as string;
    if ((part as string).includes('"text":')) textMs.push(atMs);
  }
  const totalMs = performance.now() - begin;
  if (response.statusCode !== 200 || !text.includes('[DONE]') || firstPartMs === undefined)
    throw new Error(`${response.statusCode} ${text.slice(0, 2000)}`);
  const cachedTokens = Number(/"cached_tokens":(\d+)/.exec(text)?.[1] ?? 0);
  return { firstPartMs, textMs, totalMs, cachedTokens };
}

/** Calls until an answer is complete, for a minute at most. @param log what the error shows of the workers */
export async function waitUntilServed(complete: () => Promise<unknown>, log: () => string): Promise<void> {
  const failure = (): Promise<string | undefined> => complete().then(() => undefined, String);
  const isServed = (error: string | undefined): boolean => error === undefined;
  await waitFor('an answer from the workers', failure, isServed, SERVED_MS).catch((error: Error) => {
    throw new Error(`${error.message}\n${log()}`);
  });
}

/**
 * Calls `send` for each request of a plan at its time, also if earlier ones are late. Resolves after the last call.
 *
 * @param atMs the time of a request from the start
 */
export async function sendInTime<Planned>(
  plan: readonly Planned[],
  atMs: (planned: Planned) => number,
  send: (planned: Planned) => void,
): Promise<void> {
  const begin = performance.now();
  for (const planned of plan) {
    const left = begin + atMs(planned) - performance.now();
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
    send(planned);
  }
}
