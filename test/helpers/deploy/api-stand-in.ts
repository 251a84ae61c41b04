import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A request as the server received it. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly type: string;
  readonly body: unknown;
}

/** How a request is answered: with a status and a body, in any way, or never. */
export type Reply =
  | { readonly status: number; readonly body: object | string }
  | ((response: ServerResponse) => void)
  | 'never';

/** The body of a failed request. */
export const failure = (code: number, reason: string, message: string, causes: readonly object[] = []): Reply => ({
  status: code,
  body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code, details: { causes } },
});

/**
 * Stands in for an API server in faults that a real one does not show on demand. It stores nothing. What a real server
 * accepts and answers is the subject of `test/kubernetes`.
 */
export class ApiStandIn {
  readonly #server: Server;
  readonly #folder = mkdtempSync(join(tmpdir(), 'dynamo-api-'));
  readonly received: ReceivedRequest[] = [];

  private constructor(answer: (request: ReceivedRequest) => Reply) {
    this.#server = createServer(async (request, response) => {
      const received = await receive(request);
      this.received.push(received);
      const reply = answer(received);
      if (reply === 'never') return;
      if (typeof reply === 'function') return reply(response);
      const isText = typeof reply.body === 'string';
      response.writeHead(reply.status, { 'content-type': isText ? 'text/plain' : 'application/json' });
      response.end(isText ? (reply.body as string) : JSON.stringify(reply.body));
    });
  }

  static async start(answer: (request: ReceivedRequest) => Reply): Promise<ApiStandIn> {
    const standIn = new ApiStandIn(answer);
    await new Promise<void>((resolve) => standIn.#server.listen(0, '127.0.0.1', resolve));
    const cluster = { server: standIn.url, 'insecure-skip-tls-verify': true };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'a',
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { token: 'secret-token' } }],
      contexts: [{ name: 'a', context: { cluster: 'c', user: 'u', namespace: 'team' } }],
    };
    writeFileSync(standIn.kubeconfig, JSON.stringify(config));
    return standIn;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get kubeconfig(): string {
    return join(this.#folder, 'config');
  }

  /** Stops listening; a later connection is refused. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function receive(request: IncomingMessage): Promise<ReceivedRequest> {
  let text = '';
  for await (const part of request) text += String(part);
  const url = new URL(request.url ?? '/', 'http://localhost');
  return {
    method: request.method ?? '',
    path: url.pathname,
    query: Object.fromEntries(url.searchParams),
    type: request.headers['content-type'] ?? '',
    body: text === '' ? undefined : JSON.parse(text),
  };
}
