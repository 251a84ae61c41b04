import { describe, expect, it } from 'vitest';

import { createArgs } from '../../../lib/runtime/config.js';

describe('createArgs', () => {
  it.each([
    [
      { discovery: { kind: 'zookeeper' } },
      /options\.discovery\.kind: expected one of mem, file, etcd, kubernetes, got "zookeeper"/,
    ],
    [{ discovery: 'mem' }, /options\.discovery: expected an object, got "mem"/],
    [{ discovery: { kind: 'file', dir: 1 } }, /options\.discovery\.dir: expected a string, got 1/],
    [{ discovery: { kind: 'etcd', endpoints: [] } }, /options\.discovery\.endpoints: expected a list of addresses/],
    [{ discovery: { kind: 'mem', dir: '/tmp' } }, /options\.discovery\.dir: unknown option; known are kind/],
    [
      { discovery: { kind: 'kubernetes', mode: 'node' } },
      /options\.discovery\.mode: expected one of pod, container, got "node"/,
    ],
    [{ requestPlane: 'http' }, /options\.requestPlane: expected one of tcp, nats, got "http"/],
    [{ systemPort: 70000 }, /options\.systemPort: expected an integer from -1 to 32767, got 70000/],
    [
      { host: 'no-such-interface' },
      /options\.host: expected an IP address or an interface \(lo.*\), got "no-such-interface"/,
    ],
    [
      { discovery: { kind: 'file', dir: '/etc/passwd' } },
      /options\.discovery\.dir: expected a folder to write to, got "\/etc\/passwd" \(E/,
    ],
    [{ connectTimeoutMs: 2 ** 31 }, /options\.connectTimeoutMs: expected an integer from 1 to 2147483647/],
    [{ workerThreads: 1.5 }, /options\.workerThreads: expected an integer/],
    [{ canary: 'yes' }, /options\.canary: expected a boolean, got "yes"/],
    [{ canary: Object.create(null) }, /options\.canary: expected a boolean, got an object/],
    [{ inhibitedSeconds: Number.NaN }, /options\.inhibitedSeconds: expected an integer from 0 to \d+, got NaN/],
    [{ inhibitedSeconds: -1 }, /options\.inhibitedSeconds: expected an integer from 0/],
    [{ maxMessageBytes: Infinity }, /options\.maxMessageBytes: expected an integer from 65536/],
    [{ workerThreads: 2 ** 53 }, /options\.workerThreads: expected an integer from 1 to 256, got 9007199254740992/],
    [{ workerThreads: 'four' }, /options\.workerThreads: expected an integer, got "four"/],
    [{ tls: { certPath: 'a.pem' } }, /options\.tls: expected certPath and keyPath together/],
    [{ tls: { clientKeyPath: 'a.key' } }, /options\.tls: expected clientCertPath and clientKeyPath together/],
    [{ tls: { caPath: 1 } }, /options\.tls\.caPath: expected a string, got 1/],
    [{ tls: { insecure: 'yes' } }, /options\.tls\.insecure: expected a boolean, got "yes"/],
    [{ tls: { ca: 'x' } }, /options\.tls\.ca: unknown option; known are certPath/],
    [{ dicovery: {} }, /options\.dicovery: unknown option; known are discovery/],
    [null, /options: expected an object, got null/],
  ])('rejects %j', (options, message) => {
    expect(() => createArgs(options as never)).toThrow(message);
  });

  it('returns the Kubernetes mode as a setting of the process', () => {
    expect(createArgs({ discovery: { kind: 'kubernetes', mode: 'container' } })).toEqual({
      discovery: { kind: 'kubernetes' },
      settings: { DYN_KUBE_DISCOVERY_MODE: 'container' },
    });
  });

  it('returns each certificate under its variable', () => {
    expect(
      createArgs({ natsTls: { caPath: 'a', clientCertPath: 'b', clientKeyPath: 'c', insecure: true } })['settings'],
    ).toEqual({
      NATS_TLS_CA_CERT_PATH: 'a',
      NATS_TLS_CLIENT_CERT_PATH: 'b',
      NATS_TLS_CLIENT_KEY_PATH: 'c',
      NATS_TLS_INSECURE: 'true',
    });
    const tls = {
      certPath: 'a',
      keyPath: 'b',
      caPath: 'c',
      clientCertPath: 'd',
      clientKeyPath: 'e',
      clientCaPath: 'f',
      serverName: 'g',
      insecure: false,
    };
    expect(createArgs({ tls })['settings']).toEqual({
      DYN_TCP_TLS_CERT_PATH: 'a',
      DYN_TCP_TLS_KEY_PATH: 'b',
      DYN_TCP_TLS_CA_CERT_PATH: 'c',
      DYN_TCP_TLS_CLIENT_CERT_PATH: 'd',
      DYN_TCP_TLS_CLIENT_KEY_PATH: 'e',
      DYN_TCP_TLS_CLIENT_CA_CERT_PATH: 'f',
      DYN_TCP_TLS_SERVER_NAME: 'g',
      DYN_TCP_TLS_INSECURE: 'false',
    });
  });

  it('rethrows the error of a getter', () => {
    const options = {
      get canary(): boolean {
        throw new Error('not today');
      },
    };
    expect(() => createArgs(options)).toThrow('not today');
  });

  it('returns arguments and environment variables', () => {
    expect(createArgs({ discovery: { kind: 'mem' }, host: '127.0.0.1', systemPort: 0 })).toEqual({
      discovery: { kind: 'mem' },
      host: '127.0.0.1',
      settings: {
        DYN_TCP_RPC_HOST: '127.0.0.1',
        DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1',
        DYN_EVENT_PLANE_HOST: '127.0.0.1',
        DYN_SYSTEM_HOST: '127.0.0.1',
        DYN_SYSTEM_PORT: '0',
      },
    });
    expect(createArgs({ discovery: { kind: 'mem' }, host: 'lo', systemHost: '0.0.0.0' })).toMatchObject({
      host: '127.0.0.1',
      settings: { DYN_TCP_RPC_HOST: 'lo', DYN_SYSTEM_HOST: '0.0.0.0' },
    });
  });
});
