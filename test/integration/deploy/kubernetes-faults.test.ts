import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Child } from '../../helpers/child.js';
import { runCommand, startCommand } from '../../helpers/cli/command.js';
import { ApiStandIn, failure, type ReceivedRequest, type Reply } from '../../helpers/deploy/api-stand-in.js';
import { WrittenArtifact } from '../../helpers/deploy/artifacts.js';
import { root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

const COLLECTION = '/apis/nvidia.com/v1beta1/namespaces/team/dynamographdeployments';
const NOT_FOUND = failure(404, 'NotFound', 'dynamographdeployments.nvidia.com "agg" not found');

let artifact: WrittenArtifact;
beforeAll(() => void (artifact = new WrittenArtifact()));
afterAll(() => artifact[Symbol.dispose]());

/** A deployment as the server has it. */
const live = (changes: object = {}): object => ({
  apiVersion: 'nvidia.com/v1beta1',
  kind: 'DynamoGraphDeployment',
  metadata: { name: 'agg', namespace: 'team', generation: 1 },
  spec: { components: [{ name: 'Worker', type: 'worker', replicas: 2, podTemplate: { spec: { containers: [] } } }] },
  ...changes,
});

const status = (ready: string, more: object = {}): object => ({
  status: { observedGeneration: 1, conditions: [{ type: 'Ready', status: ready, reason: 'pods_not_ready' }], ...more },
});

const ok = (body: object): Reply => ({ status: 200, body });

/** A server on which nothing exists, and that answers an apply with `reply`. */
const absent = (reply: Reply) => (request: ReceivedRequest) => (request.method === 'PATCH' ? reply : NOT_FOUND);

async function run(
  answer: (request: ReceivedRequest) => Reply,
  words: readonly string[],
  flags: readonly string[] = [],
) {
  await using api = await ApiStandIn.start(answer);
  const result = await runCommand([...words, '--kubeconfig', api.kubeconfig, ...flags]);
  return { ...result, received: api.received };
}

const deploy = (answer: (request: ReceivedRequest) => Reply, ...flags: string[]) =>
  run(answer, ['deploy', artifact.folder], flags);

describe('dynamo deploy', () => {
  it('applies the deployment as the owner dynamo-node, and waits for it', async () => {
    const answers = [
      NOT_FOUND,
      ok(live({ ...status('False') })),
      ok(live(status('True', { components: { Worker: { readyReplicas: 2 } } }))),
    ];
    const { code, stdout, stderr, received } = await deploy(({ method }) =>
      method === 'PATCH' ? ok(live()) : (answers.shift() ?? 'never'),
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: "Deployment 'agg' is ready in team.\n" });
    expect(stderr.split('\n').slice(1)).toEqual(['waiting: Worker 0/2 (pods_not_ready)', 'ready: Worker 2/2', '']);
    expect(received[1]).toMatchObject({
      method: 'PATCH',
      path: `${COLLECTION}/agg`,
      type: 'application/apply-patch+yaml',
      query: { fieldManager: 'dynamo-node', force: 'false', fieldValidation: 'Strict' },
      body: { metadata: { name: 'agg', namespace: 'team' } },
    });
  });

  it.each<[number, string, Reply, string]>([
    [77, 'E_KUBERNETES_FORBIDDEN', failure(403, 'Forbidden', 'User "dev" cannot patch'), 'User "dev" cannot patch'],
    [77, 'E_KUBERNETES_UNAUTHENTICATED', failure(401, 'Unauthorized', 'Unauthorized'), 'Unauthorized'],
    [66, 'E_KUBERNETES_NOT_FOUND', failure(404, 'NotFound', 'namespaces "x" not found'), 'namespaces "x" not found'],
    [69, 'E_NO_PLATFORM', { status: 404, body: '404 page not found\n' }, 'answered 404: 404 page not found'],
    [
      1,
      'E_KUBERNETES_CONFLICT',
      failure(409, 'Conflict', 'conflict with "x"', [{ field: '.spec.env', message: 'owned' }]),
      'conflict with "x"',
    ],
    [
      65,
      'E_KUBERNETES_INVALID',
      failure(422, 'Invalid', 'invalid', [
        { field: 'spec.a', message: 'Required value' },
        { field: '<nil>', message: 'x' },
      ]),
      'Validation error:\n  spec.a: Required value\n',
    ],
    [
      65,
      'E_KUBERNETES_INVALID',
      failure(400, 'BadRequest', 'strict decoding error'),
      'Validation error: strict decoding error',
    ],
    [
      65,
      'E_KUBERNETES_INVALID',
      failure(500, '', 'failed to create typed patch object (x): .spec.a: field not declared'),
      'Validation error: failed',
    ],
    [1, 'E_KUBERNETES_FAILED', failure(500, 'InternalError', 'etcd is gone'), 'Internal server error: etcd is gone'],
    [69, 'E_KUBERNETES_UNAVAILABLE', failure(429, 'TooManyRequests', 'try later'), 'try later'],
    [69, 'E_KUBERNETES_UNAVAILABLE', { status: 503, body: '<html>down</html>' }, 'answered 503: <html>down</html>'],
    [1, 'E_KUBERNETES_FAILED', { status: 302, body: '' }, 'answered 302'],
    [
      1,
      'E_KUBERNETES_PROTOCOL',
      { status: 200, body: '<html>proxy</html>' },
      "expected JSON, got '<html>proxy</html>'",
    ],
  ])('ends with exit code %i and %s', async (exitCode, name, reply, text) => {
    const { code, stderr } = await deploy(absent(reply));
    expect(code).toBe(exitCode);
    expect(stderr).toContain(`error[${name}]: `);
    expect(stderr).toContain(text);
    expect(stderr).not.toContain('secret-token');
  });

  it.each<[string, Reply]>([
    ['never answers', 'never'],
    ['stops in the middle of the answer', (response) => void response.writeHead(200).write('{"a":')],
  ])('ends with exit code 69 if the server %s', async (_, reply) => {
    const { code, stderr } = await deploy(() => reply, '--request-timeout', '1');
    expect({ code, stderr }).toMatchObject({
      code: 69,
      stderr: expect.stringMatching(/E_KUBERNETES_TIMEOUT\]: http:\S+ did not answer within 1 s/),
    });
  });

  it('ends with exit code 69 if the server cuts the connection or is not there', async () => {
    const cut = await deploy(() => (response) => response.destroy());
    expect(cut).toMatchObject({ code: 69, stderr: expect.stringContaining('E_KUBERNETES_UNREACHABLE') });
    await using api = await ApiStandIn.start(() => 'never');
    await api.close();
    const gone = await runCommand(['deploy', artifact.folder, '--kubeconfig', api.kubeconfig]);
    expect(gone).toMatchObject({ code: 69, stderr: expect.stringMatching(/is not reachable: .*ECONNREFUSED/) });
  });

  it('goes on waiting while the server cannot answer', async () => {
    let polls = 0;
    const { code, stderr } = await deploy(({ method }) => {
      if (method === 'PATCH') return ok(live());
      polls++;
      if (polls === 1) return NOT_FOUND;
      return polls === 2 ? failure(503, 'ServiceUnavailable', 'leader election') : ok(live(status('True')));
    });
    expect(code).toBe(0);
    expect(stderr).toContain('waiting: leader election');
  });

  it('ends with exit code 2 if the deployment is not ready in time, 1 if it has failed', async () => {
    const answering = (body: object) => (request: ReceivedRequest) =>
      request.method === 'PATCH' || request.path.endsWith('agg') ? ok(body) : NOT_FOUND;
    const late = await deploy(answering(live(status('False'))), '--timeout', '0');
    expect(late).toMatchObject({
      code: 2,
      stdout: "Deployment 'agg' is not ready after 0 s: Worker 0/2 (pods_not_ready)\n",
    });
    const failed = await deploy(answering(live(status('False', { state: 'failed' }))));
    expect(failed).toMatchObject({ code: 1, stdout: "Deployment 'agg' has failed: Worker 0/2 (pods_not_ready)\n" });
  });

  it('ends with exit code 66 if the deployment is deleted while it waits', async () => {
    const { code, stderr } = await deploy(absent(ok(live())));
    expect({ code, stderr }).toMatchObject({
      code: 66,
      stderr: expect.stringContaining("Deployment 'agg' not found."),
    });
  });

  it('ends with exit code 130 on Ctrl-C, with the deployment left as it is', async () => {
    await using api = await ApiStandIn.start(({ method }) => ok(method === 'PATCH' ? live() : live(status('False'))));
    const command = startCommand(['deploy', artifact.folder, '--kubeconfig', api.kubeconfig]);
    await waitFor(
      'the wait',
      () => command.stderr,
      (text) => text.includes('waiting: '),
    );
    command.signal('SIGINT');
    expect(await command.exitCode).toBe(130);
    expect(api.received.map(({ method }) => method)).not.toContain('DELETE');
  });

  it('gives up after five conflicts about numbers of pods, and tries again until then', async () => {
    const conflict = failure(409, 'Conflict', 'conflict with "planner"', [
      { field: '.spec.components[name="Worker"].replicas', message: 'conflict' },
    ]);
    const scaled = { name: 'Worker', type: 'worker', replicas: 4, scalingAdapter: {} };
    const { code, received } = await deploy(({ method }) =>
      method === 'PATCH' ? conflict : ok(live({ spec: { components: [scaled] } })),
    );
    expect(code).toBe(1);
    const applied = received.filter(({ method }) => method === 'PATCH');
    expect(applied).toHaveLength(5);
    const components = (applied[0]?.body as { spec: { components: { name: string; replicas: number }[] } }).spec
      .components;
    expect(components.find(({ name }) => name === 'Worker')?.replicas).toBe(4);
  });

  it('prints the deployment and calls nobody in a dry run of the client', async () => {
    const { code, stdout, received } = await deploy(() => 'never', '--dry-run=client', '-o', 'json');
    expect({ code, received }).toEqual({ code: 0, received: [] });
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'DynamoGraphDeployment', metadata: { name: 'agg' } });
  });

  it('lets the server check in a dry run of the server', async () => {
    const { code, stdout, received } = await deploy(absent(ok(live())), '--dry-run=server');
    expect({ code, stdout }).toEqual({ code: 0, stdout: "Deployment 'agg' is valid (dry run).\n" });
    expect(received[1]?.query['dryRun']).toBe('All');
  });

  it.each([
    [['--env', 'A'], "--env: expected KEY=VALUE, got 'A'"],
    [['-n', 'Big'], '--name: expected a name of a-z, 0-9 and -, at most 63 characters, got "Big"'],
    [
      ['--endpoint', 'http://cloud'],
      'the API store of Dynamo Cloud no longer exists; deploy talks to the Kubernetes API',
    ],
    [['-t', 'bento_cloud'], 'the API store of Dynamo Cloud no longer exists'],
    [['--context', 'other'], "context: expected one of a, got 'other'"],
    [['--timeout', '-1'], '--timeout'],
  ])('rejects the flags %j with exit code 64', async (flags, text) => {
    const { code, stderr, received } = await deploy(() => 'never', ...flags);
    expect({ code, received }).toEqual({ code: 64, received: [] });
    expect(stderr).toContain(text);
  });
});

describe('the cluster', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-kubeconfig-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each<[string, string | undefined, number, string]>([
    ['is not there', undefined, 66, 'no such file'],
    ['is no YAML', 'a: [', 65, 'E_BAD_KUBECONFIG'],
    ['has no context', '{}', 64, "context: expected one of none, got ''"],
  ])('is not found if the kubeconfig %s', async (_, text, code, message) => {
    const file = join(folder, 'config');
    rmSync(file, { force: true });
    if (text !== undefined) writeFileSync(file, text);
    const result = await runCommand(['deployment', 'list', '--kubeconfig', file]);
    expect(result).toMatchObject({ code, stderr: expect.stringContaining(message) });
  });

  it('is that of $KUBECONFIG, else of ~/.kube/config, else none', async () => {
    await using api = await ApiStandIn.start(() => ok({ items: [] }));
    const found = await runCommand(['deployment', 'list'], { env: { KUBECONFIG: api.kubeconfig } });
    expect(found).toEqual({ code: 0, stdout: '', stderr: 'no deployments in team\n' });
    const none = await runCommand(['deployment', 'list'], { env: { HOME: folder } });
    expect(none).toMatchObject({ code: 69, stderr: expect.stringContaining('E_NO_KUBECONFIG') });
  });
});

describe('without @kubernetes/client-node', () => {
  it('a deployment ends with exit code 69 and the npm command', async () => {
    const imports = ['tsx', join(root, 'test/helpers/deploy/without-client-node.mjs')].flatMap((one) => [
      '--import',
      one,
    ]);
    const main = join(root, 'lib/cli/main.ts');
    const child = Child.start(process.execPath, [...imports, main, 'deployment', 'list', '--json']);
    expect((await child.exit()).code).toBe(69);
    expect(JSON.parse(child.output)).toEqual({
      code: 'E_NO_KUBERNETES_CLIENT',
      message: 'the package @kubernetes/client-node is not installed',
      hint: 'Install it in the project: npm install @kubernetes/client-node@1.4.0',
    });
  });
});

describe('dynamo deployment', () => {
  it('creates only what does not exist, and updates only what does', async () => {
    const exists = () => ok(live(status('True')));
    expect(await run(exists, ['deployment', 'create', artifact.folder])).toMatchObject({
      code: 73,
      stderr: expect.stringContaining("Cannot create deployment because deployment with name 'agg' already exists."),
    });
    expect(await run(absent('never'), ['deployment', 'update', 'agg', artifact.folder])).toMatchObject({
      code: 66,
      stderr: expect.stringContaining("Deployment 'agg' not found."),
    });
    expect(await run(exists, ['deployment', 'update', 'agg', artifact.folder, '--no-wait'])).toMatchObject({
      code: 0,
      stdout: "Deployment 'agg' applied in team.\n",
    });
  });

  it('shows one and lists all', async () => {
    const container = { name: 'main', image: 'registry.example/a:1' };
    const component = {
      name: 'Worker',
      type: 'worker',
      replicas: 2,
      podTemplate: { spec: { containers: [container] } },
    };
    const body = live({
      spec: { components: [component] },
      ...status('False', { components: { Worker: { readyReplicas: 1 } } }),
    });
    const answer = ({ path }: ReceivedRequest) => ok(path === COLLECTION ? { items: [body] } : body);
    expect((await run(answer, ['deployment', 'get', 'agg'])).stdout).toBe(
      [
        'agg in team: waiting',
        'Worker 1/2 (pods_not_ready)',
        'SERVICE  ROLE    READY    IMAGE',
        'Worker   worker  1/2      registry.example/a:1',
        '',
      ].join('\n'),
    );
    const list = await run(answer, ['deployment', 'list', '--json']);
    expect(JSON.parse(list.stdout)).toEqual([
      { name: 'agg', namespace: 'team', phase: 'waiting', summary: 'Worker 1/2 (pods_not_ready)' },
    ]);
  });

  it('scales by name and by role', async () => {
    const components = [
      { name: 'P', type: 'prefill', replicas: 1 },
      { name: 'D', type: 'decode', replicas: 1, scalingAdapter: {} },
    ];
    const answer = () => ok(live({ spec: { components } }));
    const { code, stdout, received } = await run(answer, ['deployment', 'scale', 'agg', '3P2D']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "Deployment 'agg' is scaled to P=3, D=2.\n" });
    expect(received.filter(({ method }) => method === 'PATCH').map(({ path, body }) => [path, body])).toEqual([
      [
        `${COLLECTION}/agg`,
        [
          { op: 'test', path: '/spec/components/0/name', value: 'P' },
          { op: 'add', path: '/spec/components/0/replicas', value: 3 },
        ],
      ],
      [`${COLLECTION.replace('deployments', 'deploymentscalingadapters')}/agg-d/scale`, { spec: { replicas: 2 } }],
    ]);
    for (const words of ['three', 'P=', 'P=-1', 'Other=1'])
      expect(await run(answer, ['deployment', 'scale', 'agg', words])).toMatchObject({ code: 64 });
  });

  it('prints the logs of the pods of a service, each line with its pod', async () => {
    const pod = (name: string, component: string): object => ({
      metadata: { name, labels: { 'nvidia.com/dynamo-component': component } },
    });
    const answer = ({ path }: ReceivedRequest): Reply =>
      path.endsWith('/log')
        ? { status: 200, body: `${path.split('/').at(-2)} 1\nend` }
        : ok({ items: [pod('b', 'W'), pod('a', 'W')] });
    const { stdout, received } = await run(answer, ['deployment', 'logs', 'agg', '--service', 'W', '--tail', '5']);
    expect(stdout).toBe('[W/a] a 1\n[W/a] end\n[W/b] b 1\n[W/b] end\n');
    expect(received[0]?.query['labelSelector']).toBe(
      'nvidia.com/dynamo-graph-deployment-name=agg,nvidia.com/dynamo-component=W',
    );
    expect(received[1]?.query).toEqual({ container: 'main', follow: 'false', tailLines: '5' });
  });

  it('follows logs until Ctrl-C', async () => {
    await using api = await ApiStandIn.start(({ path }) =>
      path.endsWith('/log')
        ? (response) => void response.writeHead(200).write('first\nsec')
        : ok({ items: [{ metadata: { name: 'a' } }] }),
    );
    const command = startCommand([
      'deployment',
      'logs',
      'agg',
      '-f',
      '--kubeconfig',
      api.kubeconfig,
      '--request-timeout',
      '1',
    ]);
    await waitFor(
      'a line',
      () => command.stdout,
      (text) => text === '[/a] first\n',
    );
    command.signal('SIGINT');
    expect(await command.exitCode).toBe(130);
  });

  it('deletes one', async () => {
    const { code, stdout, received } = await run(() => ok({}), ['deployment', 'delete', 'agg']);
    expect({ code, stdout, method: received[0]?.method }).toEqual({
      code: 0,
      stdout: "Deployment 'agg' is deleted.\n",
      method: 'DELETE',
    });
  });
});
