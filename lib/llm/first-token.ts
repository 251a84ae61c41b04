import { pack, textBytes } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import { checkInstance, checkInteger, checkOneOf, checkString, MAX_U32 } from '../check.js';
import { Endpoint } from '../runtime/endpoint.js';

/** The workers that a router's first token comes from. */
const TYPES = ['aggregated', 'decode'] as const;

/**
 * Tells KV-aware routers that a request's prefill is over, so that they count it no more against its worker: for handlers
 * that `endpoint.serve` serves. Engines of `serveEngine` have `context.notifyFirstToken`.
 *
 * @example
 * const firstTokens = await FirstTokenSource.open(endpoint, 'aggregated');
 * await endpoint.serve(async function* (_request, { id }) {
 *   firstTokens.notify(id);
 *   yield 'the first token';
 * });
 */
export class FirstTokenSource implements AsyncDisposable {
  #handle: Handle | undefined;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** For workers of an endpoint that give the first token. Source: `dynamo-llm` `first_token.rs`. */
  static async open(endpoint: Endpoint, workerType: 'aggregated' | 'decode'): Promise<FirstTokenSource> {
    const operation = 'FirstTokenSource.open';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkOneOf(`${operation} workerType`, workerType, TYPES);
    return new FirstTokenSource(
      await invoke(native.firstTokenOpen, operation, { handle: endpoint.handle(operation), args: pack(workerType) }),
    );
  }

  /** `dpRank`: the data-parallel rank that the router chose, `routing.dp_rank` of the request. Call it once a request. */
  notify(requestId: string, dpRank = 0): void {
    const operation = 'firstTokens.notify';
    const handle = open(this.#handle, 'the first token source', operation);
    checkString(`${operation} requestId`, requestId);
    checkInteger(`${operation} dpRank`, dpRank, 0, MAX_U32);
    invokeSync(native.firstTokenNotify, operation, { handle, payload: textBytes(requestId), a: dpRank });
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) invokeSync(native.firstTokenClose, 'firstTokens.close', { handle });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
