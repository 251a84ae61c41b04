import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { get, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Frontend } from 'dynamo-node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { certificate, opensslMissing } from '../../helpers/runtime/certificates.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';
import { describeUnless } from '../../helpers/skipping.js';

const folder = mkdtempSync(join(tmpdir(), 'dynamo-tls-'));
const file = (name: string) => join(folder, name);

function status(url: string, options: RequestOptions): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(`${url}/live`, { agent: false, ...options }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on('error', reject);
  });
}

describeUnless(opensslMissing, 'a frontend with certificates', () => {
  const cluster = privateCluster();
  beforeAll(async () => {
    await certificate(folder, 'authority');
    await Promise.all([
      certificate(folder, 'server', 'authority'),
      certificate(folder, 'client', 'authority'),
      certificate(folder, 'stranger'),
    ]);
  });
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true });
    await cluster.remove();
  });
  const ca = () => readFileSync(file('authority.pem'));
  const identity = (name: string) => ({
    cert: readFileSync(file(`${name}.pem`)),
    key: readFileSync(file(`${name}.key`)),
  });

  it('answers over TLS', async () => {
    const tls = { certPath: file('server.pem'), keyPath: file('server.key') };
    await using frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0, tls });
    await frontend.ready;
    expect(frontend.url).toMatch(/^https:/);
    expect(await status(frontend.url, { ca: ca() })).toBe(200);
    await expect(status(frontend.url, {})).rejects.toThrow();
  });

  it('requires a client certificate of its authority', async () => {
    const tls = { certPath: file('server.pem'), keyPath: file('server.key'), clientCaPath: file('authority.pem') };
    await using frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0, tls });
    await frontend.ready;
    expect(await status(frontend.url, { ca: ca(), ...identity('client') })).toBe(200);
    await expect(status(frontend.url, { ca: ca() })).rejects.toThrow();
    await expect(status(frontend.url, { ca: ca(), ...identity('stranger') })).rejects.toThrow();
  });
});
