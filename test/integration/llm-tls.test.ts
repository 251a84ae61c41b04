import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { get, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Frontend } from '../../lib/index.js';
import { privateCluster } from '../helpers/cluster.js';
import { execute } from '../helpers/project.js';

const missing = await execute('openssl', ['version']).then(
  () => undefined,
  () => 'openssl is not installed',
);
if (missing !== undefined) console.log(`skipped: ${missing}`);

const folder = mkdtempSync(join(tmpdir(), 'dynamo-tls-'));
const file = (name: string) => join(folder, name);
const openssl = (...args: string[]) => execute('openssl', args, { cwd: folder });

async function certificate(name: string, authority?: string): Promise<void> {
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`];
  const by = authority === undefined ? [] : ['-CA', `${authority}.pem`, '-CAkey', `${authority}.key`, '-addext', 'basicConstraints=critical,CA:FALSE'];
  await openssl('req', '-x509', ...key, '-out', `${name}.pem`, '-days', '2', ...subject, ...by);
}

function status(url: string, options: RequestOptions): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(`${url}/live`, { agent: false, ...options }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on('error', reject);
  });
}

describe.skipIf(missing !== undefined)('a frontend with certificates', () => {
  const cluster = privateCluster();
  beforeAll(async () => {
    await certificate('authority');
    await Promise.all([certificate('server', 'authority'), certificate('client', 'authority'), certificate('stranger')]);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
    cluster.remove();
  });
  const ca = () => readFileSync(file('authority.pem'));
  const identity = (name: string) => ({ cert: readFileSync(file(`${name}.pem`)), key: readFileSync(file(`${name}.key`)) });

  it('answers over TLS', async () => {
    const tls = { certPath: file('server.pem'), keyPath: file('server.key') };
    await using frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0, tls });
    await frontend.ready;
    expect(frontend.url).toMatch(/^https:/);
    expect(await status(frontend.url, { ca: ca() })).toBe(200);
    await expect(status(frontend.url, {})).rejects.toThrow();
  });

  it('asks clients for a certificate of its authority', async () => {
    const tls = { certPath: file('server.pem'), keyPath: file('server.key'), clientCaPath: file('authority.pem') };
    await using frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0, tls });
    await frontend.ready;
    expect(await status(frontend.url, { ca: ca(), ...identity('client') })).toBe(200);
    await expect(status(frontend.url, { ca: ca() })).rejects.toThrow();
    await expect(status(frontend.url, { ca: ca(), ...identity('stranger') })).rejects.toThrow();
  });
});
