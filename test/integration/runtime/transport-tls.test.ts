import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransportTls } from 'dynamo-node';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { certificate, opensslMissing } from '../../helpers/runtime/certificates.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { describeUnless } from '../../helpers/skipping.js';

const VARIABLES: Record<keyof TransportTls, string> = {
  certPath: 'DYN_TCP_TLS_CERT_PATH',
  keyPath: 'DYN_TCP_TLS_KEY_PATH',
  caPath: 'DYN_TCP_TLS_CA_CERT_PATH',
  clientCertPath: 'DYN_TCP_TLS_CLIENT_CERT_PATH',
  clientKeyPath: 'DYN_TCP_TLS_CLIENT_KEY_PATH',
  clientCaPath: 'DYN_TCP_TLS_CLIENT_CA_CERT_PATH',
  serverName: 'DYN_TCP_TLS_SERVER_NAME',
  insecure: 'DYN_TCP_TLS_INSECURE',
};

describeUnless(opensslMissing, 'requests and responses over TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-tls-'));
  const file = (name: string): string => join(folder, name);
  const serving: TransportTls = {
    certPath: file('server.pem'),
    keyPath: file('server.key'),
    caPath: file('authority.pem'),
  };
  const identity = (name: string): TransportTls => ({
    clientCertPath: file(`${name}.pem`),
    clientKeyPath: file(`${name}.key`),
  });
  const named: TransportTls = { ...serving, certPath: file('named.pem'), keyPath: file('named.key') };
  const strict: TransportTls = { ...serving, clientCaPath: file('authority.pem'), ...identity('client') };
  const { caPath: _, ...anybody } = serving;

  beforeAll(async () => {
    await certificate(folder, 'authority');
    await Promise.all([
      certificate(folder, 'server', 'authority'),
      certificate(folder, 'client', 'authority'),
      certificate(folder, 'stranger'),
      certificate(folder, 'named', 'authority', 'DNS:worker.test'),
    ]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /**
   * A worker and a caller in separate processes, with certificates from options or variables. Returns the result of the
   * caller.
   */
  async function call(
    worker: TransportTls,
    caller: TransportTls,
    by: 'options' | 'variables' = 'options',
  ): Promise<unknown> {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const start = (program: string, tls: TransportTls): Child => {
      const runtime = { discovery, host: '127.0.0.1', ...(by === 'options' ? { tls } : {}) };
      const told = Object.entries(tls).map(([name, value]) => [VARIABLES[name as keyof TransportTls], String(value)]);
      const env = by === 'options' ? {} : Object.fromEntries(told);
      const child = Child.program(
        `test/helpers/runtime/programs/${program}.ts`,
        [JSON.stringify({ path: 'tls.worker.generate', runtime })],
        { env },
      );
      onTestFinished(() => child.stop());
      return child;
    };
    await start('worker', worker).event('ready');
    const { items, code } = await start('one-call', caller).event('called');
    return items ?? code;
  }

  const items = [0, 1, 2].map((index) => ({ call: 1, index }));

  it('reach a caller that trusts the authority', async () => {
    expect(await call(serving, serving)).toEqual(items);
  });

  it('reach a caller that accepts any certificate', async () => {
    expect(await call(serving, { ...anybody, insecure: true })).toEqual(items);
  });

  it('reach only callers with serverName if the certificate is not for the address', async () => {
    // Answers reach the caller over a connection of the worker, which verifies the caller's certificate in the same
    // way.
    expect(await call({ ...named, serverName: 'worker.test' }, { ...named, serverName: 'worker.test' })).toEqual(items);
    expect(await call({ ...named, serverName: 'worker.test' }, named)).toBe('DYN_UNAVAILABLE');
    expect(await call({ ...named, serverName: 'worker.test' }, { ...named, serverName: 'other.test' })).toBe(
      'DYN_UNAVAILABLE',
    );
  });

  it('do not reach a caller that trusts another authority or does not use TLS', async () => {
    expect(await call(serving, { ...serving, caPath: file('stranger.pem') })).toBe('DYN_UNAVAILABLE');
    expect(await call(serving, {})).toMatch(/^DYN_/);
  });

  it('reach only callers with a certificate if clientCaPath is set', async () => {
    expect(await call(strict, strict)).toEqual(items);
    expect(await call(strict, { ...strict, ...identity('stranger') })).toMatch(/^DYN_/);
  });

  it.each<[string, TransportTls, TransportTls]>([
    ['of an authority', serving, { ...serving, caPath: file('stranger.pem') }],
    ['of nobody', { ...anybody, insecure: true }, anybody],
    ['of a name', { ...named, serverName: 'worker.test' }, { ...named, serverName: 'other.test' }],
    ['of the caller', strict, { ...strict, ...identity('stranger') }],
  ])('are configured by variables as by options: %s', async (_, good, bad) => {
    expect(await call(good, good, 'variables')).toEqual(items);
    expect(await call(good, bad, 'variables')).toMatch(/^DYN_/);
  });

  it('fail with an error that names a missing certificate file', async () => {
    const child = Child.program('test/helpers/runtime/programs/worker.ts', [
      JSON.stringify({
        path: 'tls.worker.generate',
        runtime: {
          discovery: { kind: 'mem' },
          host: '127.0.0.1',
          tls: { certPath: file('nowhere.pem'), keyPath: file('server.key') },
        },
      }),
    ]);
    onTestFinished(() => child.stop());
    expect(await child.exit()).not.toMatchObject({ code: 0 });
    expect(child.output).toContain('nowhere.pem');
  });
});
