import { describe, expect, it } from 'vitest';

import { createArgs } from '../../lib/runtime/config.js';

describe('the options of a runtime', () => {
  it.each([
    [{ discovery: { kind: 'zookeeper' } }, /options\.discovery\.kind: expected one of mem, file, etcd, kubernetes, got "zookeeper"/],
    [{ discovery: 'mem' }, /options\.discovery: expected an object, got "mem"/],
    [{ discovery: { kind: 'file', dir: 1 } }, /options\.discovery\.dir: expected a string, got 1/],
    [{ discovery: { kind: 'etcd', endpoints: [] } }, /options\.discovery\.endpoints: expected a list of addresses/],
    [{ discovery: { kind: 'mem', dir: '/tmp' } }, /options\.discovery\.dir: unknown option; known are kind/],
    [{ discovery: { kind: 'kubernetes', mode: 'node' } }, /options\.discovery\.mode: expected one of pod, container, got "node"/],
    [{ requestPlane: 'http' }, /options\.requestPlane: expected one of tcp, nats, got "http"/],
    [{ systemPort: 70000 }, /options\.systemPort: expected an integer from -1 to 65535, got 70000/],
    [{ workerThreads: 1.5 }, /options\.workerThreads: expected an integer/],
    [{ canary: 'yes' }, /options\.canary: expected a boolean, got yes/],
    [{ dicovery: {} }, /options\.dicovery: unknown option; known are discovery/],
    [null, /options: expected an object, got null/],
  ])('are refused by path: %j', (options, message) => {
    expect(() => createArgs(options as never)).toThrow(message);
  });

  it('fix the way of Kubernetes discovery for the process', () => {
    expect(createArgs({ discovery: { kind: 'kubernetes', mode: 'container' } })).toEqual({
      discovery: { kind: 'kubernetes' },
      settings: { DYN_KUBE_DISCOVERY_MODE: 'container' },
    });
  });

  it('become arguments and environment variables', () => {
    expect(createArgs({ discovery: { kind: 'mem' }, host: '127.0.0.1', systemPort: 0 })).toEqual({
      discovery: { kind: 'mem' },
      settings: {
        DYN_TCP_RPC_HOST: '127.0.0.1',
        DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1',
        DYN_EVENT_PLANE_HOST: '127.0.0.1',
        DYN_SYSTEM_PORT: '0',
      },
    });
  });
});
