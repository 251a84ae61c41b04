import { badArgument } from '../../errors.js';
import type { Client } from '../../runtime/client.js';
import type { RequestOptions } from '../../runtime/client-options.js';
import type { Endpoint } from '../../runtime/endpoint.js';
import type { DependsOptions } from '../service.js';

/** Sends a request to an endpoint. */
export type Call = (request: unknown, options?: RequestOptions) => unknown;

/** The calls of one endpoint in one namespace. */
export interface ConnectedEndpoint {
  readonly client: Client<unknown, unknown>;
  readonly call: Call;
  close(): Promise<void>;
}

/**
 * Connects to an endpoint by the mode of a dependency.
 *
 * @throws TypeError for the mode `kv` and an endpoint that does not answer with a stream
 */
export async function connectEndpoint(
  endpoint: Endpoint,
  { mode, blockSize }: DependsOptions,
  stream: boolean,
): Promise<ConnectedEndpoint> {
  if (mode !== 'kv') {
    const client = await endpoint.client(mode === undefined ? {} : { mode });
    const call = (stream ? client.generate : client.unary).bind(client) as Call;
    return { client, call, close: () => client.close() };
  }
  if (!stream) throw badArgument(new TypeError(`${endpoint.path}: mode kv is for endpoints that answer with a stream`));
  const client = await endpoint.client({ mode: 'direct' });
  try {
    const { KvCalls } = await import('./kv-calls.js');
    const routed = await KvCalls.create(endpoint, client, blockSize as number);
    const close = async (): Promise<void> => {
      await Promise.all([routed.close(), client.close()]);
    };
    return { client, call: routed.generate.bind(routed), close };
  } catch (error) {
    await client.close();
    throw error;
  }
}
