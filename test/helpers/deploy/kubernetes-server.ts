import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

import { Child } from '../child.js';
import { certificate } from '../runtime/certificates.js';
import { freePort } from '../runtime/cluster.js';
import { Server } from '../servers.js';
import { waitFor } from '../wait.js';
import { startCoreStub, USERS } from './core-stub.js';
import { CRDS } from './crds.js';

const program =
  process.env['APIEXTENSIONS_APISERVER'] ?? join(homedir(), '.cache/dynamo-node/kubernetes/apiextensions-apiserver');

/** Why no API server can be started here, or undefined. */
export const kubernetesMissing = existsSync(program)
  ? undefined
  : `${program} does not exist (npm run test:kubernetes builds it with Go)`;

const OFF = [
  'MutatingAdmissionWebhook',
  'ValidatingAdmissionWebhook',
  'ValidatingAdmissionPolicy',
  'MutatingAdmissionPolicy',
];

interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * The API server that kube-apiserver uses for custom resources, with etcd and this project's definitions of Dynamo's
 * resources. It has no operator: a test writes the status itself.
 */
export class KubernetesServer {
  private constructor(
    private readonly folder: string,
    private readonly port: number,
    private readonly parts: readonly { stop(): unknown }[],
  ) {}

  static async start(): Promise<KubernetesServer> {
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-kubernetes-'));
    await certificate(folder, 'ca');
    await certificate(folder, 'server', 'ca');
    const etcd = await Server.etcd();
    const core = await startCoreStub();
    const port = await freePort();
    const file = (name: string): string => join(folder, name);
    writeFileSync(file('core'), JSON.stringify(configOf(`http://127.0.0.1:${core.port}`, {})));
    const child = Child.start(program, [
      `--etcd-servers=http://127.0.0.1:${etcd.port}`,
      ...['--bind-address=127.0.0.1', `--secure-port=${port}`],
      ...[`--tls-cert-file=${file('server.pem')}`, `--tls-private-key-file=${file('server.key')}`],
      ...[`--client-ca-file=${file('ca.pem')}`, '--authentication-skip-lookup'],
      ...['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'].map(
        (flag) => `--${flag}=${file('core')}`,
      ),
      ...[
        '--enable-priority-and-fairness=false',
        '--watch-cache=false',
        `--disable-admission-plugins=${OFF.join(',')}`,
      ],
    ]);
    const server = new KubernetesServer(folder, port, [child, core, { stop: () => etcd.close() }]);
    for (const [token, { username }] of Object.entries(USERS))
      writeFileSync(file(username), JSON.stringify(configOf(`https://127.0.0.1:${port}`, { token }, file('ca.pem'))));
    try {
      const isReady = (): Promise<Answer> =>
        server.call('GET', '/readyz').catch((error) => ({ status: 0, text: String(error) }));
      await waitFor(
        'the API server',
        async () => ({ ...(await isReady()), log: child.output }),
        ({ status }) => status === 200,
        60_000,
      );
      for (const crd of CRDS) await server.#define(crd as { metadata: { name: string } });
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  async #define(crd: { metadata: { name: string } }): Promise<void> {
    const created = await this.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd);
    if (created.status !== 201) throw new Error(created.text);
    const path = `/apis/nvidia.com/v1beta1/${crd.metadata.name.split('.')[0]}`;
    await waitFor(
      crd.metadata.name,
      () => this.call('GET', path),
      ({ status }) => status === 200,
    );
  }

  /** The kubeconfig of a user: `admin`, or `reader`, who may only read. */
  kubeconfig(user: 'admin' | 'reader' = 'admin'): string {
    return join(this.folder, user);
  }

  /** A request of the administrator. */
  call(method: string, path: string, body?: object, type = 'application/json'): Promise<Answer> {
    const headers = { authorization: 'Bearer admin-token', 'content-type': type };
    const options = {
      host: '127.0.0.1',
      port: this.port,
      path,
      method,
      headers,
      ca: readFileSync(join(this.folder, 'ca.pem')),
    };
    return new Promise((resolve, reject) => {
      const sent = request(options, async (response) => {
        let text = '';
        for await (const part of response) text += String(part);
        resolve({ status: response.statusCode ?? 0, text });
      });
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async stop(): Promise<void> {
    for (const part of this.parts) await part.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function configOf(server: string, user: object, ca?: string): object {
  const cluster = { server, ...(ca === undefined ? {} : { 'certificate-authority': ca }) };
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'test', user }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace: 'default' } }],
  };
}
