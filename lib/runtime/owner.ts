import type { Handle } from '../addon/native.js';
import type { ServedEndpoint } from './serve.js';

/** The owner of a native runtime. */
export interface Owner {
  /** The id under which its endpoints are registered. */
  readonly instanceId: bigint;
  readonly config: { readonly responsePlane: 'tcp' | 'quic' };
  /** The runtime's handle. @throws ClosedError after the close. */
  handle(operation: string): Handle<'runtime'>;
  /** Takes ownership of a served endpoint, which is then closed with the runtime. */
  adopt(served: ServedEndpoint): ServedEndpoint;
  /** Calls `end` when the runtime is closed. Returns a function that unregisters it. */
  onClose(end: () => void): () => void;
}
