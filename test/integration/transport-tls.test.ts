import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { TransportTls } from '../../lib/index.js';
import { certificate, opensslMissing } from '../helpers/certificates.js';
import { Child } from '../helpers/child.js';
import { temporaryFolder } from '../helpers/runtime.js';
import { describeUnless } from '../helpers/skipping.js';

describeUnless(opensslMissing, 'requests and responses over TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-tls-'));
  const file = (name: string): string => join(folder, name);
  const serving: TransportTls = { certPath: file('server.pem'), keyPath: file('server.key'), caPath: file('authority.pem') };
  const identity = (name: string): TransportTls => ({ clientCertPath: file(`${name}.pem`), clientKeyPath: file(`${name}.key`) });

  beforeAll(async () => {
    await certificate(folder, 'authority');
    await Promise.all([certificate(folder, 'server', 'authority'), certificate(folder, 'client', 'authority'), certificate(folder, 'stranger'), certificate(folder, 'named', 'authority', 'DNS:worker.test')]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** A worker and a caller, each in a process of its own; gives what the caller got. */
  async function call(worker: TransportTls, caller: TransportTls): Promise<unknown> {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const path = 'tls.worker.generate';
    const serves = Child.program('test/helpers/programs/worker.ts', [JSON.stringify({ path, runtime: { discovery, host: '127.0.0.1', tls: worker } })]);
    onTestFinished(() => serves.stop());
    await serves.event('ready');
    const calls = Child.program('test/helpers/programs/one-call.ts', [JSON.stringify({ path, runtime: { discovery, host: '127.0.0.1', tls: caller } })]);
    onTestFinished(() => calls.stop());
    const { items, code } = await calls.event('called');
    return items ?? code;
  }

  const items = [0, 1, 2].map((index) => ({ call: 1, index }));

  it('reach a caller that trusts the authority', async () => {
    expect(await call(serving, serving)).toEqual(items);
  });

  it('reach a caller that trusts anybody', async () => {
    expect(await call(serving, { ...serving, caPath: undefined as never, insecure: true })).toEqual(items);
  });

  it('reach a caller that knows the name of a certificate that is not for the address, and no other', async () => {
    const named = { ...serving, certPath: file('named.pem'), keyPath: file('named.key') };
    // Answers come to the caller over a connection of the worker's, which looks at the caller's certificate in the same way.
    expect(await call({ ...named, serverName: 'worker.test' }, { ...named, serverName: 'worker.test' })).toEqual(items);
    expect(await call({ ...named, serverName: 'worker.test' }, named)).toBe('DYN_UNAVAILABLE');
    expect(await call({ ...named, serverName: 'worker.test' }, { ...named, serverName: 'other.test' })).toBe('DYN_UNAVAILABLE');
  });

  it('reach no caller that trusts another authority, or speaks without TLS', async () => {
    expect(await call(serving, { ...serving, caPath: file('stranger.pem') })).toBe('DYN_UNAVAILABLE');
    expect(await call(serving, {})).toMatch(/^DYN_/);
  });

  it('reach, where callers must show a certificate, those alone who can', async () => {
    const strict = { ...serving, clientCaPath: file('authority.pem'), ...identity('client') };
    expect(await call(strict, strict)).toEqual(items);
    expect(await call(strict, { ...strict, ...identity('stranger') })).toMatch(/^DYN_/);
  });

  it('of certificates that are not there are an error that names the file', async () => {
    const child = Child.program('test/helpers/programs/worker.ts', [
      JSON.stringify({ path: 'tls.worker.generate', runtime: { discovery: { kind: 'mem' }, host: '127.0.0.1', tls: { certPath: file('nowhere.pem'), keyPath: file('server.key') } } }),
    ]);
    onTestFinished(() => child.stop());
    expect(await child.exit()).not.toMatchObject({ code: 0 });
    expect(child.output).toContain('nowhere.pem');
  });
});

