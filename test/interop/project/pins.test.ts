import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, it, onTestFinished } from 'vitest';

import { pinnedInstall } from '../../../scripts/setup/pip.mjs';
import { missingPeers } from '../../helpers/interop/peers.js';
import { execute, root } from '../../helpers/project.js';

const python = join(root, '.peers/bin/python');

const MAKE_WHEEL = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('planted.py', 'value = 1\\n')
    wheel.writestr('planted-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: planted\\nVersion: 1.0\\n')
    wheel.writestr('planted-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('planted-1.0.dist-info/RECORD', '')
`;

it('a wheel is installed only if the list has its hash', async ({ skip }) => {
  if (missingPeers !== undefined) skip(missingPeers);
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-pins-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'planted-1.0-py3-none-any.whl');
  await execute(python, ['-c', MAKE_WHEEL, file]);
  const hash = createHash('sha256').update(readFileSync(file)).digest('hex');
  const list = join(folder, 'list.txt');
  const install = (pins: string) => {
    writeFileSync(list, pins);
    const offline = ['--no-index', '--find-links', folder, '--target', join(folder, 'target')];
    return execute(python, [...pinnedInstall(list), ...offline], { env: { ...process.env, PIP_NO_CACHE_DIR: '1' } });
  };

  await expect(install('planted==1.0\n')).rejects.toThrow(/Hashes are required/);
  await expect(install(`planted==1.0 --hash=sha256:${'0'.repeat(64)}\n`)).rejects.toThrow(/DO NOT MATCH THE HASHES/);
  await install(`planted==1.0 \\\n    --hash=sha256:${'0'.repeat(64)} \\\n    --hash=sha256:${hash}\n`);
  expect(readFileSync(join(folder, 'target/planted.py'), 'utf8')).toBe('value = 1\n');
});
