import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace: string;
    uid: string;
    resourceVersion: string;
    labels?: Record<string, string>;
    ownerReferences?: { kind: string; name: string; uid: string }[];
  };
  [field: string]: unknown;
}

interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  /** The version of the last change. */
  changed: number;
  readonly objects: Map<string, KubernetesObject>;
  readonly watchers: Set<{ readonly labels: string | null; readonly response: ServerResponse }>;
}

/** A pod as its cluster sees it. */
export interface Pod {
  readonly name: string;
  readonly uid: string;
  readonly ready: boolean;
  /** Ready containers, by name. @default main */
  readonly containers?: readonly string[];
}

const NAMESPACE = 'default';
const LABELS = { 'nvidia.com/dynamo-discovery-backend': 'kubernetes', 'nvidia.com/dynamo-discovery-enabled': 'true' };

const resource = (apiVersion: string, kind: string): Resource => ({
  apiVersion,
  kind,
  changed: 1,
  objects: new Map(),
  watchers: new Set(),
});

const matches = (object: KubernetesObject, selector: string | null): boolean =>
  (selector ?? '')
    .split(',')
    .filter(Boolean)
    .every((term) => {
      const [name, value] = term.split('=');
      return object.metadata.labels?.[name as string] === value;
    });

/**
 * A mock of a cluster's API server, over plain HTTP and without access control. It supports the requests of Dynamo's
 * discovery: lists and watches of EndpointSlices, Pods and DynamoWorkerMetadata, and server-side apply and delete of
 * the last. It also acts as the cluster's controllers: `setPod` changes slices and pods as a cluster would.
 */
export class KubernetesStandIn {
  readonly #server: Server;
  readonly #folder = mkdtempSync(join(tmpdir(), 'dynamo-kubernetes-'));
  readonly #resources: Record<string, Resource> = {
    [`/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`]: resource(
      'discovery.k8s.io/v1',
      'EndpointSlice',
    ),
    [`/api/v1/namespaces/${NAMESPACE}/pods`]: resource('v1', 'Pod'),
    [`/apis/nvidia.com/v1alpha1/namespaces/${NAMESPACE}/dynamoworkermetadatas`]: resource(
      'nvidia.com/v1alpha1',
      'DynamoWorkerMetadata',
    ),
  };
  #version = 1;
  /** Methods that are answered with 403. */
  readonly forbidden = new Set<string>();
  /** The received requests, without queries. */
  readonly asked: string[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<KubernetesStandIn> {
    const server = createServer((request, response) => void standIn.#answer(request, response));
    const standIn = new KubernetesStandIn(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const named = (kind: string, value: object): object[] => [{ name: 'stand-in', [kind]: value }];
    writeFileSync(
      standIn.kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'stand-in',
        clusters: named('cluster', { server: `http://127.0.0.1:${port}` }),
        users: named('user', {}),
        contexts: named('context', { cluster: 'stand-in', user: 'stand-in', namespace: NAMESPACE }),
      }),
    );
    return standIn;
  }

  get kubeconfig(): string {
    return join(this.#folder, 'kubeconfig');
  }

  /** The environment of a pod's container. */
  environment({ name, uid }: Pick<Pod, 'name' | 'uid'>, container?: string): Record<string, string> {
    const own = { KUBECONFIG: this.kubeconfig, POD_NAME: name, POD_UID: uid, POD_NAMESPACE: NAMESPACE };
    return container === undefined ? own : { ...own, CONTAINER_NAME: container };
  }

  /** Every worker's metadata, by its name. */
  get workers(): ReadonlyMap<string, KubernetesObject> {
    return this.#of('DynamoWorkerMetadata').objects;
  }

  setPod({ name, uid, ready, containers = ['main'] }: Pod): void {
    const metadata = { labels: LABELS };
    const targetRef = { kind: 'Pod', name, uid, namespace: NAMESPACE };
    this.#put(this.#of('EndpointSlice'), name, {
      metadata,
      addressType: 'IPv4',
      endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready }, targetRef }],
    });
    const containerStatuses = containers.map((one) => ({ name: one, ready, image: '', imageID: '', restartCount: 0 }));
    this.#put(this.#of('Pod'), name, { metadata: { ...metadata, uid }, status: { containerStatuses } });
  }

  /** Removes the pod and everything that it owns, as the garbage collection of a cluster does. */
  removePod(name: string): void {
    const uid = this.#of('Pod').objects.get(name)?.metadata.uid;
    for (const kind of ['EndpointSlice', 'Pod']) this.#delete(this.#of(kind), name);
    for (const [worker, { metadata }] of this.workers) {
      if (metadata.ownerReferences?.some((owner) => owner.uid === uid))
        this.#delete(this.#of('DynamoWorkerMetadata'), worker);
    }
  }

  /** Ends every open watch, as servers do periodically. */
  cutWatches(): void {
    for (const { watchers } of Object.values(this.#resources)) for (const { response } of watchers) response.destroy();
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #of(kind: string): Resource {
    return Object.values(this.#resources).find((one) => one.kind === kind) as Resource;
  }

  #put(target: Resource, name: string, given: Record<string, unknown>): KubernetesObject {
    const known = target.objects.get(name);
    const metadata = {
      uid: `${target.kind}-${++this.#version}`,
      ...known?.metadata,
      ...(given['metadata'] as object),
      name,
      namespace: NAMESPACE,
      resourceVersion: String(this.#version),
    };
    const object = { ...given, apiVersion: target.apiVersion, kind: target.kind, metadata } as KubernetesObject;
    target.objects.set(name, object);
    this.#tell(target, known === undefined ? 'ADDED' : 'MODIFIED', object);
    return object;
  }

  #delete(target: Resource, name: string): KubernetesObject | undefined {
    const object = target.objects.get(name);
    if (object === undefined) return undefined;
    target.objects.delete(name);
    object.metadata.resourceVersion = String(++this.#version);
    this.#tell(target, 'DELETED', object);
    return object;
  }

  #tell(target: Resource, type: string, object: KubernetesObject): void {
    target.changed = this.#version;
    for (const { labels, response } of target.watchers)
      if (matches(object, labels)) response.write(`${JSON.stringify({ type, object })}\n`);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://stand-in');
    const method = request.method ?? '';
    this.asked.push(`${method} ${url.pathname}`);
    const send = (status: number, body: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    const refuse = (code: number, reason: string): void =>
      send(code, {
        kind: 'Status',
        apiVersion: 'v1',
        status: 'Failure',
        code,
        reason,
        message: `${method} ${url.pathname}: ${reason}`,
      });
    const [path, target] = Object.entries(this.#resources).find(([prefix]) => url.pathname.startsWith(prefix)) ?? [];
    if (path === undefined || target === undefined) return refuse(404, 'NotFound');
    if (this.forbidden.has(method)) return refuse(403, 'Forbidden');
    const name = url.pathname.slice(path.length + 1);
    const labels = url.searchParams.get('labelSelector');
    if (method === 'PATCH') {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      return send(
        200,
        this.#put(target, name, JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>),
      );
    }
    if (method === 'DELETE') {
      const gone = this.#delete(target, name);
      return gone === undefined ? refuse(404, 'NotFound') : send(200, gone);
    }
    if (url.searchParams.get('watch') === 'true' || url.searchParams.get('watch') === '1')
      return this.#watch(target, labels, Number(url.searchParams.get('resourceVersion') ?? 0), response);
    const items = [...target.objects.values()].filter((object) => matches(object, labels));
    send(200, {
      apiVersion: target.apiVersion,
      kind: `${target.kind}List`,
      metadata: { resourceVersion: String(this.#version) },
      items,
    });
  }

  /** Changes before a watch are not kept. Its client must list again. */
  #watch(target: Resource, labels: string | null, from: number, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (from < target.changed) {
      const object = {
        kind: 'Status',
        apiVersion: 'v1',
        status: 'Failure',
        code: 410,
        reason: 'Expired',
        message: 'The resourceVersion for the provided watch is too old.',
      };
      response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
      return;
    }
    const watcher = { labels, response };
    target.watchers.add(watcher);
    response.on('close', () => target.watchers.delete(watcher));
  }
}
