import { copyFileSync, mkdirSync, readdirSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { NixlLoadOptions } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child, type ChildEvent } from '../../helpers/child.js';
import { nixlMissing } from '../../helpers/nixl/library.js';
import { nixlLibrary } from '../../helpers/nixl/native-suite.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

const NOWHERE = '/nowhere/libnixl_capi.so';

const UNSET = {
  DYNAMO_NIXL: undefined,
  NIXL_HOME: undefined,
  UCX_DEBUG_SIGNO: undefined,
  UCX_HANDLE_ERRORS: undefined,
  UCX_MEM_MMAP_HOOK_MODE: undefined,
};

/** The library that a separate process loads: this process may have loaded it already. */
async function load(options: NixlLoadOptions, env: NodeJS.ProcessEnv = {}): Promise<ChildEvent> {
  const child = Child.program('test/helpers/nixl/programs/load.ts', [JSON.stringify(options)], {
    env: { ...UNSET, ...env },
  });
  onTestFinished(() => child.stop());
  return child.event('loaded', {}, 60_000);
}

/** An installation: a copy of the library, with links to its dependencies. */
function installation(...below: string[]): { folder: string; path: string; home: string } {
  const home = realpathSync(temporaryFolder());
  const folder = join(home, ...below);
  const wheel = dirname(nixlLibrary as string);
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(wheel)) {
    if (name === 'libnixl_capi.so') copyFileSync(join(wheel, name), join(folder, name));
    else symlinkSync(join(wheel, name), join(folder, name));
  }
  symlinkSync(join(wheel, '../nixl_cu12.libs'), join(folder, '../nixl_cu12.libs'));
  return { folder, home, path: join(folder, 'libnixl_capi.so') };
}

describe('loadNixl in mode auto', () => {
  it('loads the mock if there is no library', async () => {
    expect(await load({ mode: 'auto', path: NOWHERE })).toMatchObject({ kind: 'mock', path: '' });
    expect(await load({ path: NOWHERE }, { DYNAMO_NIXL: 'auto' })).toMatchObject({ kind: 'mock', path: '' });
  });

  it('loads the library if there is one', async (context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
    expect(await load({ mode: 'auto' })).toMatchObject({ kind: 'real' });
  });
});

describe('loadNixl', () => {
  beforeEach((context) => {
    const missing = nixlMissing() ?? (nixlLibrary === undefined ? 'there is no wheel of NIXL in .peers' : undefined);
    if (missing !== undefined) context.skip(missing);
  });

  it.each([['lib'], ['lib', 'x86_64-linux-gnu'], ['.nixl_cu12.mesonpy.libs']])(
    'finds the library below NIXL_HOME: %s',
    async (...below) => {
      const { home, path } = installation(...below);
      expect(await load({}, { NIXL_HOME: home })).toMatchObject({ kind: 'real', path });
      expect(await load({ home }, { NIXL_HOME: '/nowhere' })).toMatchObject({ kind: 'real', path });
    },
  );

  it('finds the library by its name among those of the system', async () => {
    const { folder, path } = installation('lib');
    expect(await load({}, { LD_LIBRARY_PATH: folder })).toMatchObject({ kind: 'real', path });
  });

  it('searches other places if NIXL_HOME is an empty folder', async () => {
    expect(await load({}, { NIXL_HOME: temporaryFolder(), LD_LIBRARY_PATH: undefined })).toMatchObject({
      kind: 'real',
      path: realpathSync(nixlLibrary as string),
    });
  });

  it('sets variables of UCX unless they are set, and none with safeEnvironment: false', async () => {
    const safe = { UCX_DEBUG_SIGNO: '0', UCX_HANDLE_ERRORS: 'none', UCX_MEM_MMAP_HOOK_MODE: 'none' };
    const own = { UCX_DEBUG_SIGNO: '12', UCX_HANDLE_ERRORS: 'bt', UCX_MEM_MMAP_HOOK_MODE: 'reloc' };
    expect((await load({}))['environment']).toEqual(safe);
    expect((await load({}, own))['environment']).toEqual(own);
    expect((await load({}, { UCX_HANDLE_ERRORS: 'bt' }))['environment']).toEqual({ ...safe, UCX_HANDLE_ERRORS: 'bt' });
    expect((await load({ safeEnvironment: false }))['environment']).toEqual({});
  });
});
