import { Closeable } from '../addon/closeable.js';
import { pack, textBytes } from '../addon/codec.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInstance, checkInteger, checkOneOf, checkString, MAX_U32 } from '../check.js';
import { Endpoint } from '../runtime/endpoint.js';

/** The types of worker that generate the first token of a request. */
const TYPES = ['aggregated', 'decode'] as const;

/**
 * Reports to KV-aware routers that the prefill of a request is complete, so that they stop counting it. For handlers of
 * `endpoint.serve`; engines of `serveEngine` use `context.notifyFirstToken`.
 *
 * @example
 * const firstTokens = await FirstTokenSource.create(endpoint, 'aggregated');
 * await endpoint.serve(async function* (_request, { id }) {
 *   firstTokens.notify(id);
 *   yield 'the first token';
 * });
 */
export class FirstTokenSource extends Closeable<'firstTokens'> {
  private constructor(handle: Handle<'firstTokens'>) {
    super('the first token source', handle);
  }

  /** For workers of an endpoint that generate the first token. Source: `dynamo-llm` `first_token.rs`. */
  static async create(endpoint: Endpoint, workerType: 'aggregated' | 'decode'): Promise<FirstTokenSource> {
    const operation = 'FirstTokenSource.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkOneOf(`${operation} workerType`, workerType, TYPES);
    return new FirstTokenSource(
      await invoke(native.firstTokenOpen, operation, { handle: endpoint.handle(operation), args: pack(workerType) }),
    );
  }

  /**
   * Reports one request. Call it once per request. `dpRank` is the data-parallel rank that the router chose:
   * `routing.dp_rank` of the request.
   */
  notify(requestId: string, dpRank = 0): void {
    const operation = 'firstTokens.notify';
    const handle = this.handle(operation);
    checkString(`${operation} requestId`, requestId);
    checkInteger(`${operation} dpRank`, dpRank, 0, MAX_U32);
    invokeSync(native.firstTokenNotify, operation, { handle, payload: textBytes(requestId), a: arg('dpRank', dpRank) });
  }

  /** @internal */
  protected closeHandle(handle: Handle<'firstTokens'>): void {
    invokeSync(native.firstTokenClose, 'firstTokens.close', { handle });
  }
}
