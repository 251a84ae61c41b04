import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { loadNixl, versions } from 'dynamo-node';
import { expect, it } from 'vitest';

import { missingPeers } from '../../helpers/interop/peers.js';
import { root } from '../../helpers/project.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';

const linked = {
  dynamoNode: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
  dynamo: '1.6.1',
  protocol: 'v1',
};

it('versions() names this package and the crates, and NIXL once its library is loaded; the mock is no NIXL', (context) => {
  expect(versions()).toEqual(linked);
  loadNixl({ mode: 'mock' });
  expect(versions()).toEqual(linked);
  if (missingPeers !== undefined) context.skip(missingPeers);
  const [, installed] = /^nixl-cu12==(.+)$/m.exec(readFileSync(join(root, 'scripts/nixl.txt'), 'utf8'))!;
  expect(loadNixl({ mode: 'real' }).kind).toBe('real');
  expect(versions()).toEqual({ ...linked, nixl: installed });
});

it('protocol is what instances are registered under', async () => {
  const dir = temporaryFolder();
  const runtime = await testRuntime({ discovery: { kind: 'file', dir } });
  await runtime.endpoint('versions.worker.generate').serve(() => 1);
  expect(readdirSync(dir)).toEqual([versions().protocol]);
});
