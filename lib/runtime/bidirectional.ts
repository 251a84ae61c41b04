import { packBorrowed, packValue } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import type { Sink } from '../addon/sink.js';
import { DynamoError, failureFrom } from '../errors.js';
import type { Failable } from './deadline.js';
import { checkDepth, checkSize } from './limits.js';

/** Sends the requests of a bidirectional call to the worker. */
export class RequestSender {
  #iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  #sent = 0;
  #over = false;

  constructor(
    private readonly operation: string,
    private readonly requests: AsyncIterable<unknown> | Iterable<unknown>,
    private readonly sink: Sink,
    private readonly mayUseJson: () => boolean,
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
        if (!(await this.#write(value))) return this.finish();
      }
    } catch (error) {
      if (this.#over) return;
      this.#end(error);
      answers.fail(error);
    }
  }

  async #write(request: unknown): Promise<boolean> {
    try {
      return await this.sink.write(this.#packed(await request));
    } catch (error) {
      this.#return();
      throw error;
    }
  }

  #packed(request: unknown): Uint8Array {
    const what = `requests[${this.#sent++}]`;
    const payload = packValue(this.operation, what, request, packBorrowed);
    checkDepth(this.operation, what, this.mayUseJson);
    checkSize(this.operation, what, payload.byteLength);
    return payload;
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
