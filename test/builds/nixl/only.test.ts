import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

import { execute, root } from '../../helpers/project.js';

const BUILD_MS = 600_000;
const FOLDER = join(root, 'build/nixl/only');
const MOVE = `
  import { loadNixl, NixlAgent } from './lib/index.js';
  import { native } from './lib/addon/load.js';
  const library = loadNixl({ mode: 'mock' });
  const [a, b] = [await NixlAgent.create('a', { library }), await NixlAgent.create('b', { library })];
  const [mine, theirs] = [await a.allocate(4096), await b.allocate(4096)];
  mine.view.fill(7);
  await a.write(mine, (await a.connect(await b.metadata())).memory(theirs.descriptor()));
  console.log(JSON.stringify({ wrote: theirs.view[4095], functions: Object.keys(native) }));
  await Promise.all([a.close(), b.close()]);
`;

// This build is for work on NIXL, and for machines that only move memory. It is unoptimised: only the build is tested.
describe('the addon with NIXL only', () => {
  beforeAll(async () => {
    const options = [
      '--debug',
      '--CDDYNAMO_NIXL_ONLY=ON',
      `--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(FOLDER, 'build/Release')}`,
    ];
    await execute('npx', ['cmake-js', 'compile', '-d', 'native', '-O', join(FOLDER, 'cmake'), ...options], {
      cwd: root,
      maxBuffer: 64 * 1024 * 1024,
    });
  }, BUILD_MS);

  it('is built without Rust, is loaded, and moves bytes', async () => {
    const env = { ...process.env, DYNAMO_NODE_PREBUILD: FOLDER };
    const { stdout } = await execute(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', MOVE], {
      cwd: root,
      env,
    });
    const { wrote, functions } = JSON.parse(stdout) as { wrote: number; functions: string[] };
    expect(wrote).toBe(7);
    expect(functions.filter((name) => !name.startsWith('nixl'))).toEqual([]);
    expect(functions.length).toBeGreaterThan(30);
  });
});
