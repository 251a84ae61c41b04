import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClient, VirtualScaler } from 'dynamo-node/planner';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { missingPeers, type Peer, startPeer } from '../../helpers/interop/peers.js';
import { Server, serversMissing } from '../../helpers/servers.js';
import { waitFor, within } from '../../helpers/wait.js';

const missing = missingPeers ?? serversMissing('etcd');
const PROGRAM = 'test/helpers/planner/programs/virtual.py';

let server: Server;
let dir: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'dynamo-virtual-'));
  if (missing !== undefined) return;
  server = await Server.etcd();
  vi.stubEnv('ETCD_ENDPOINTS', server.url);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
  await server?.close();
});
beforeEach(({ skip }) => skip(missing !== undefined, missing));

function python(side: 'coordinator' | 'client', namespace: string): Peer {
  const peer = startPeer(dir, PROGRAM, side, namespace);
  onTestFinished(() => peer.stop());
  return peer;
}

describe('the virtual connector', () => {
  it('carries decisions of the Python planner to TypeScript, one after the other', async () => {
    const peer = python('coordinator', 'python-decides');
    const client = new VirtualClient({ namespace: 'python-decides', pollMs: 50 });
    onTestFinished(() => client.close());
    const first = await within(60_000, 'a decision', client.next(), () => peer.log());
    expect(first).toEqual({ id: 0, prefill: 3, decode: 2 });
    await client.complete(first);
    const second = await within(60_000, 'another decision', client.next(), () => peer.log());
    expect(second).toEqual({ id: 1, prefill: 3, decode: 5 });
    expect(peer.log()).toContain('completed True');
  });

  it('carries decisions of TypeScript to the Python client', async () => {
    const peer = python('client', 'typescript-decides');
    const scaler = new VirtualScaler({ namespace: 'typescript-decides', ready: () => ({ prefill: 1, decode: 1 }) });
    onTestFinished(() => scaler.close());
    await scaler.scale({ prefill: 4, decode: 2 });
    await waitFor(
      'the first decision',
      () => peer.log(),
      (log) => log.includes('4 2 0'),
      60_000,
    );
    await waitFor('its completion', () =>
      scaler.scale({ decode: 7 }).then(
        () => true,
        () => false,
      ),
    );
    await waitFor(
      'the second decision',
      () => peer.log(),
      (log) => log.includes('4 7 1'),
      60_000,
    );
  });
});
