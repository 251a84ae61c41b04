import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The users of a test cluster, by their tokens. */
export const USERS: Readonly<Record<string, { readonly username: string; readonly groups: readonly string[] }>> = {
  'admin-token': { username: 'admin', groups: ['system:masters'] },
  'reader-token': { username: 'reader', groups: [] },
};

const NAMESPACES = ['default', 'team'];

/** Objects of the API machinery have an open JSON shape. */
type Json = any;

const namespace = (name: string): object => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, uid: name, resourceVersion: '1' },
  status: { phase: 'Active' },
});

function reviewed(path: string, body: Json): Json | undefined {
  if (path.endsWith('/tokenreviews')) {
    const user = USERS[body.spec.token];
    return { ...body, status: user === undefined ? { authenticated: false } : { authenticated: true, user } };
  }
  if (path.endsWith('/subjectaccessreviews')) {
    const allowed = ['get', 'list', 'watch'].includes(body.spec.resourceAttributes?.verb);
    return { ...body, status: { allowed } };
  }
  return undefined;
}

/**
 * What the API server of custom resources needs from a cluster's core: who a token is, what a user may do, and which
 * namespaces exist. It is no API server. The user `reader` may only read.
 */
export async function startCoreStub(): Promise<{ readonly port: number; stop(): void }> {
  const server: Server = createServer(async (request, response) => {
    let text = '';
    for await (const part of request) text += String(part);
    const url = new URL(request.url ?? '/', 'http://localhost');
    const send = (status: number, value: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const review = request.method === 'POST' ? reviewed(url.pathname, JSON.parse(text)) : undefined;
    if (review !== undefined) return send(201, review);
    const [, kind, name] = /^\/api\/v1\/(namespaces|services)(?:\/([\w-]+))?$/.exec(url.pathname) ?? [];
    const items = kind === 'namespaces' ? NAMESPACES.map(namespace) : [];
    if (kind === undefined || (name !== undefined && !NAMESPACES.includes(name)))
      return send(404, {
        ...{ kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 404, reason: 'NotFound' },
        message: `namespaces "${name}" not found`,
      });
    if (name !== undefined) return send(200, namespace(name));
    const listKind = kind === 'namespaces' ? 'Namespace' : 'Service';
    const metadata = { resourceVersion: '1' };
    if (url.searchParams.get('watch') !== 'true')
      return send(200, { kind: `${listKind}List`, apiVersion: 'v1', metadata, items });
    response.writeHead(200, { 'content-type': 'application/json' });
    for (const one of items) response.write(`${JSON.stringify({ type: 'ADDED', object: one })}\n`);
    const bookmark = { ...metadata, annotations: { 'k8s.io/initial-events-end': 'true' } };
    const event = { type: 'BOOKMARK', object: { kind: listKind, apiVersion: 'v1', metadata: bookmark } };
    response.write(`${JSON.stringify(event)}\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
