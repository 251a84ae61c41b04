import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand } from '../../helpers/cli/command.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { waitFor } from '../../helpers/wait.js';

interface Check {
  readonly name: string;
  readonly status: string;
  readonly found: string;
  readonly fix?: string;
}

const onEnd = closeAfterEach();
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dynamo-doctor-'));
});

afterEach(() => rm(folder, { recursive: true }));

async function examine(env: Record<string, string | undefined> = {}) {
  const base = { PATH: process.env['PATH'], HOME: folder, DYN_FILE_KV: join(folder, 'kv') };
  const { code, stdout } = await runCommand(['doctor', '--json', '--timeout-ms=300'], { env: { ...base, ...env } });
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Check[] };
  return { code, ok, of: (name: string) => checks.find((check) => check.name === name), checks };
}

async function listen(): Promise<{ server: Server; port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  onEnd(() => void server.close());
  await waitFor('the server listens', () => server.listening);
  return { server, port: (server.address() as { port: number }).port };
}

describe('dynamo doctor', () => {
  it('returns 0 where the addon loads, and a check of each subject', async () => {
    const { code, ok, checks, of } = await examine();
    expect({ code, ok }).toEqual({ code: 0, ok: true });
    const subjects = [
      'Node.js',
      'addon',
      'TypeScript',
      'toolchain',
      'Python',
      'GPUs',
      'NIXL',
      'RDMA',
      'file discovery',
    ];
    const more = [
      'etcd',
      'NATS',
      'Kubernetes',
      'HTTP port',
      'system port',
      'open files',
      'locked memory',
      'containment',
    ];
    expect(checks.map(({ name }) => name)).toEqual(expect.arrayContaining([...subjects, ...more]));
    for (const { name, status, fix } of checks) if (status !== 'ok') expect(`${name}: ${fix}`).toMatch(/: .{10,}/);
    expect(of('addon')).toMatchObject({ status: 'ok' });
    expect(of('file discovery')).toEqual({ name: 'file discovery', status: 'ok', found: join(folder, 'kv') });
  });

  it('reports servers that answer, and that a variable names but do not answer', async () => {
    const { port } = await listen();
    const { of, code } = await examine({
      ETCD_ENDPOINTS: `http://127.0.0.1:${port}`,
      NATS_SERVER: 'nats://127.0.0.1:1',
    });
    expect(code).toBe(0);
    expect(of('etcd')).toEqual({ name: 'etcd', status: 'ok', found: `http://127.0.0.1:${port} answers` });
    expect(of('NATS')).toMatchObject({ status: 'warning', found: 'nats://127.0.0.1:1: ECONNREFUSED' });
  });

  it('reports the API server of the current context, and a configuration that it cannot read', async () => {
    const { port } = await listen();
    const file = join(folder, 'config');
    const config = {
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'k' } }],
      clusters: [{ name: 'k', cluster: { server: `https://127.0.0.1:${port}` } }],
    };
    await writeFile(file, JSON.stringify(config));
    expect((await examine({ KUBECONFIG: file })).of('Kubernetes')).toMatchObject({
      status: 'ok',
      found: `https://127.0.0.1:${port} answers`,
    });
    await writeFile(file, '{');
    expect((await examine({ KUBECONFIG: file })).of('Kubernetes')).toMatchObject({
      status: 'absent',
      found: expect.stringContaining('cannot be read'),
    });
  });

  it('reports ports that are taken, and what is no port', async () => {
    const { port } = await listen();
    const { of } = await examine({ DYN_HTTP_PORT: String(port), DYN_SYSTEM_PORT: 'x' });
    expect(of('HTTP port')).toMatchObject({ status: 'warning', found: `${port}: another program listens on it` });
    expect(of('system port')).toMatchObject({ status: 'warning', found: expect.stringContaining('it is no port') });
  });

  it('reports a folder of discovery that it cannot use', async () => {
    await writeFile(join(folder, 'kv'), '');
    expect((await examine()).of('file discovery')).toMatchObject({ status: 'warning' });
  });

  it('writes a line for each subject, and what to do', async () => {
    const env = { PATH: process.env['PATH'], HOME: folder, DYN_FILE_KV: join(folder, 'kv'), DYN_PYTHON: '/nope' };
    const { code, stdout } = await runCommand(['doctor', '--timeout-ms=300'], { env });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ok {2}Node\.js +\d/m);
    expect(stdout).toMatch(/^-- {2}Python +\/nope is not there.*\n +-> pip install 'ai-dynamo\[vllm\]'/m);
    expect(stdout).toMatch(/\nThe package can work here\. 0 errors, \d+ warnings, \d+ optional parts are absent\.\n$/);
  });
});
