import type { ServerResponse } from 'node:http';

import { finish } from '../../addon/finish.js';
import { pump } from '../../addon/pump.js';
import { isAsyncIterable, isIterable } from '../../check.js';
import { DynamoError } from '../../errors.js';
import { Annotated } from '../../runtime/annotated.js';
import type { ServedContext } from '../../runtime/context.js';
import { httpFailureOf } from './http-errors.js';

/** How the items of a stream are written. */
interface Framing {
  readonly type: string;
  item(json: string): string;
  error(json: string): string;
}

const LINES: Framing = {
  type: 'application/x-ndjson',
  item: (json) => `${json}\n`,
  error: (json) => `${json}\n`,
};

const EVENTS: Framing = {
  type: 'text/event-stream',
  item: (json) => `data: ${json}\n\n`,
  error: (json) => `event: error\ndata: ${json}\n\n`,
};

/** Typed arrays are plain arrays, as for Dynamo's clients. The holder has a `Buffer` as it was before its `toJSON`. */
function plain(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  const held = this[key];
  return ArrayBuffer.isView(held) && !(held instanceof DataView) ? [...(held as unknown as Iterable<unknown>)] : value;
}

function jsonOf(value: unknown): string {
  const data = value instanceof Annotated ? (value.data as unknown) : value;
  return JSON.stringify(data, plain) ?? 'null';
}

/** Of the synchronous iterables only generators are streams: arrays, maps and strings are values. */
const isStream = (value: unknown): value is AsyncIterable<unknown> | Generator<unknown> =>
  isAsyncIterable(value) || (isIterable(value) && 'next' in value);

/** Writes one answer. */
export class HttpAnswer {
  readonly #framing: Framing;
  #iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;

  constructor(
    readonly path: string,
    readonly response: ServerResponse,
    accept: string,
    private readonly context: ServedContext,
  ) {
    this.#framing = accept.includes(EVENTS.type) ? EVENTS : LINES;
  }

  /** Ends the generator of the handler, if it has one. */
  abandon(kind: 'killed' | 'shutdown'): void {
    this.context.cancel(kind);
    if (this.#iterator !== undefined) finish(this.#iterator);
  }

  /** Sends a value as JSON, or a stream item by item. */
  async send(result: unknown): Promise<void> {
    try {
      const value = await result;
      if (isStream(value)) await this.#stream(value);
      else if (value === undefined) this.response.writeHead(204).end();
      else this.json(200, jsonOf(value));
    } catch (error) {
      this.fail(error);
    }
  }

  async #stream(items: AsyncIterable<unknown> | Generator<unknown>): Promise<void> {
    const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
    this.#iterator = iterator;
    const { response } = this;
    if (response.destroyed) return finish(iterator);
    const isComplete = await pump(iterator, (item) => {
      const text = this.#framing.item(jsonOf(item));
      if (response.destroyed) return false;
      this.#head();
      return response.write(text) || this.#drained();
    });
    if (!isComplete) return finish(iterator);
    if (this.context.signal.aborted)
      throw new DynamoError('Unavailable', 'the service shut down before the end of the answer', {
        reason: 'transport.disconnected',
      });
    this.#head();
    response.end();
  }

  /** Sent with the first item, so that an error before it has its own status. */
  #head(): void {
    if (!this.response.headersSent)
      this.response.writeHead(200, { 'content-type': this.#framing.type, 'cache-control': 'no-store' });
  }

  #drained(): Promise<boolean> {
    const { response } = this;
    return new Promise((resolve) => {
      const end = (isOpen: boolean) => () => {
        response.off('drain', drained).off('close', closed);
        resolve(isOpen);
      };
      const [drained, closed] = [end(true), end(false)];
      response.on('drain', drained).on('close', closed);
    });
  }

  /** Answers with an error, or ends a stream that has begun with one. */
  fail(error: unknown): void {
    const { response } = this;
    if (response.destroyed) return;
    const { status, body } = httpFailureOf(this.path, error);
    const json = JSON.stringify(body);
    if (response.headersSent) response.end(this.#framing.error(json));
    else this.json(status, json);
  }

  json(status: number, json: string, headers: Readonly<Record<string, string>> = {}): void {
    const length = Buffer.byteLength(json);
    this.response.writeHead(status, { 'content-type': 'application/json', 'content-length': length, ...headers });
    this.response.end(json);
  }
}
