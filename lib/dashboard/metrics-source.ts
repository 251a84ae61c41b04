import { get as getHttp, type IncomingMessage } from 'node:http';
import { get as getHttps } from 'node:https';
import { FrontendReader } from './frontend-figures.js';
import type { FrontendFigures, InstanceFigures, OuterFrontend } from './inputs.js';
import type { SourceStates } from './source-states.js';

const TIMEOUT_MS = 5000;
const MAX_TEXT_BYTES = 16 * 1024 * 1024;

const OK = 200;

/**
 * The text of metrics at a URL. `fetch` costs several times as much, which matters once a second.
 *
 * @throws Error if it does not answer in time, or with too much
 */
export function metricsAt(url: string): Promise<string> {
  const address = new URL('/metrics', url);
  const get = address.protocol === 'https:' ? getHttps : getHttp;
  return new Promise((resolve, reject) => {
    const request = get(address, (response) => textOf(response).then(resolve, fail));
    const late = setTimeout(() => fail(new Error(`it did not answer within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    const fail = (error: Error): void => {
      reject(error);
      request.destroy();
    };
    request.on('error', fail).on('close', () => clearTimeout(late));
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  if (response.statusCode !== OK) throw new Error(`it answered with status ${response.statusCode}`);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_TEXT_BYTES) throw new Error(`its metrics have more than ${MAX_TEXT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What frontends say. */
export interface FrontendsReading {
  readonly traffic?: FrontendFigures | undefined;
  readonly workers: ReadonlyMap<string, InstanceFigures>;
  readonly frontends: readonly OuterFrontend[];
}

/** Reads the metrics of frontends. One that does not answer takes part again when it does. */
export class FrontendsSource {
  readonly #reader = new FrontendReader();

  constructor(private readonly states: SourceStates) {}

  async read(urls: readonly string[]): Promise<FrontendsReading> {
    const texts = new Map<string, string>();
    const frontends = await Promise.all(
      urls.map(async (url): Promise<OuterFrontend> => {
        const text = await this.states.of(`metrics of ${url}`, () => metricsAt(url));
        if (text !== undefined) texts.set(url, text);
        return { url, isAnswering: text !== undefined };
      }),
    );
    return { ...this.#reader.read(texts, performance.now()), frontends };
  }
}
