import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { healthCheckFromEnvironment } from 'dynamo-node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

/** A process that creates its runtime from the environment, serves with it and calls itself. */
async function described(env: Record<string, string>): Promise<Record<string, unknown>> {
  const child = Child.program('test/helpers/runtime/programs/from-environment.ts', [], { env });
  onTestFinished(() => child.stop());
  const described = await child.event('described');
  expect(await child.exit()).toMatchObject({ code: 0 });
  return described;
}

describe('the environment', () => {
  it('configures a runtime without options', async () => {
    const dir = temporaryFolder();
    const env = {
      DYN_DISCOVERY_BACKEND: 'file',
      DYN_FILE_KV: dir,
      DYN_REQUEST_PLANE: 'tcp',
      DYN_RESPONSE_PLANE: 'tcp',
      DYN_EVENT_PLANE: 'zmq',
      DYN_REQUEST_PLANE_CODEC: 'json',
      DYN_TCP_RPC_HOST: '127.0.0.1',
      DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1',
      DYN_TCP_MAX_MESSAGE_SIZE: '1000000',
      DYN_SYSTEM_PORT: '0',
      DYN_SYSTEM_HOST: '127.0.0.1',
    };
    expect(await described(env)).toMatchObject({
      config: { discovery: 'file', requestPlane: 'tcp', responsePlane: 'tcp', eventPlane: 'zmq' },
      limits: { maxMessageBytes: 1_000_000 - 16 * 1024 },
      systemAddress: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      instance: { codec: 'json', address: expect.stringContaining('127.0.0.1') },
      answer: 'HELLO',
    });
    expect(readdirSync(join(dir, 'v1'))).toContain('instances');
  });

  it('is overridden by options', async () => {
    const [dir, other] = [temporaryFolder(), temporaryFolder()];
    const env = {
      DYN_DISCOVERY_BACKEND: 'etcd',
      ETCD_ENDPOINTS: 'http://127.0.0.1:1',
      DYN_FILE_KV: other,
      DYN_REQUEST_PLANE_CODEC: 'json',
      OPTIONS: JSON.stringify({ discovery: { kind: 'file', dir }, host: '127.0.0.1', codec: 'msgpack' }),
    };
    expect(await described(env)).toMatchObject({
      config: { discovery: 'file' },
      instance: { codec: 'msgpack' },
      answer: 'HELLO',
    });
    expect(readdirSync(other)).toEqual([]);
  });

  it('provides the health check as JSON or a file, and healthCheckFromEnvironment rejects wrong ones', () => {
    onTestFinished(() => void vi.unstubAllEnvs());
    const of = (text: string) => {
      vi.stubEnv('DYN_HEALTH_CHECK_PAYLOAD', text);
      return healthCheckFromEnvironment();
    };
    expect(of('')).toBeUndefined();
    expect(of('{"text": "hello"}')).toEqual({ text: 'hello' });
    const file = join(temporaryFolder(), 'payload.json');
    writeFileSync(file, '{"text": "from a file"}');
    expect(of(`@${file}`)).toEqual({ text: 'from a file' });
    expect(() => of('[1]')).toThrow('$DYN_HEALTH_CHECK_PAYLOAD: expected an object, got an array');
    expect(() => of('{')).toThrow(SyntaxError);
    expect(() => of('@/nowhere')).toThrow(/ENOENT/);
  });
});
