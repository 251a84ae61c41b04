import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { loadNixl, versions } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { missingPeers } from '../../helpers/interop/peers.js';
import { root } from '../../helpers/project.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';

const linked = {
  dynamoNode: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
  dynamo: '1.6.1',
  protocol: 'v1',
};

describe('versions', () => {
  it('returns this package, the crates, and NIXL after its library is loaded, but not the mock', (context) => {
    expect(versions()).toEqual(linked);
    loadNixl({ mode: 'mock' });
    expect(versions()).toEqual(linked);
    if (missingPeers !== undefined) context.skip(missingPeers);
    const [, installed] = /^nixl-cu12==(\S+)/m.exec(readFileSync(join(root, 'scripts/nixl.txt'), 'utf8'))!;
    expect(loadNixl({ mode: 'real' }).kind).toBe('real');
    expect(versions()).toEqual({ ...linked, nixl: installed });
  });

  it('returns the protocol under which instances are registered', async () => {
    const dir = temporaryFolder();
    const runtime = await testRuntime({ discovery: { kind: 'file', dir } });
    await runtime.endpoint('versions.worker.generate').serve(() => 1);
    expect(readdirSync(dir)).toEqual([versions().protocol]);
  });
});
