import { packBorrowed, packValue } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import type { Sink } from '../addon/sink.js';
import { DynamoError, failureFrom } from '../errors.js';
import type { Failable } from './deadline.js';
import { checkSize } from './limits.js';

/** Sends the requests of a bidirectional call to the worker. */
export class RequestSender {
  #iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  #over = false;

  constructor(
    private readonly operation: string,
    private readonly requests: AsyncIterable<unknown> | Iterable<unknown>,
    private readonly sink: Sink,
  ) {}

  /** Sends the requests until they end or the call is over. An error of the source fails the answers. */
  async send(answers: Failable): Promise<void> {
    if (this.#over) return;
    try {
      const { requests } = this;
      const iterator = (this.#iterator =
        Symbol.asyncIterator in requests ? requests[Symbol.asyncIterator]() : requests[Symbol.iterator]());
      for (;;) {
        const { done, value } = await iterator.next();
        if (this.#over) return;
        if (done === true) return this.#end();
        if (!(await this.sink.write(this.#packed(await value)))) return this.finish();
      }
    } catch (error) {
      if (this.#over) return;
      this.#end(error);
      answers.fail(error);
    }
  }

  #packed(request: unknown): Uint8Array {
    try {
      const payload = packValue(this.operation, 'an item of the request', request, packBorrowed);
      checkSize(this.operation, 'an item of the request', payload.byteLength);
      return payload;
    } catch (error) {
      this.#return();
      throw error;
    }
  }

  #end(error?: unknown): void {
    this.#over = true;
    this.sink.end(error === undefined ? undefined : failureFrom(error));
  }

  /**
   * Ends the sending because the call is over before its requests. A source that waits for its next item is returned
   * now. The worker does not take what it has received for the whole request. Idempotent.
   */
  finish(): void {
    if (this.#over) return;
    this.#end(new DynamoError('Cancelled', 'the call is over', { reason: 'request.cancelled' }));
    this.#return();
  }

  #return(): void {
    if (this.#iterator !== undefined) finish(this.#iterator);
  }
}
