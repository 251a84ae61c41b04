import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadNixl, NixlLoadError } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';

const WHEEL = 'lib/python3.12/site-packages/.nixl_cu12.mesonpy.libs/libnixl_capi.so';
const NOBODY = 65534;

/** A file that the loader finds. It is no library, so a loader that trusts it fails with the linker's words. */
function plant(path: string): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(path, 'no library', { mode: 0o755 });
  return path;
}

function refusal(path: string): NixlLoadError {
  try {
    loadNixl({ mode: 'real', path });
  } catch (error) {
    expect(error).toBeInstanceOf(NixlLoadError);
    return error as NixlLoadError;
  }
  throw new Error('it was loaded');
}

describe('the search for the NIXL library', () => {
  let folder: string;

  beforeEach(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'dynamo-nixl-trust-')));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  });

  it('never looks into the working folder or above it', async () => {
    const below = join(folder, 'a/b');
    mkdirSync(below, { recursive: true });
    for (const at of [folder, join(folder, 'a'), below]) plant(join(at, '.peers', WHEEL));
    const child = Child.program('test/helpers/nixl/programs/search.ts', [below], {
      env: { NIXL_HOME: '', VIRTUAL_ENV: '.peers', CONDA_PREFIX: '.peers' },
    });
    onTestFinished(() => child.stop());
    const { places } = (await child.event('searched')) as unknown as { places: string[] };
    expect(places.filter((place) => place.startsWith(folder) || !place.startsWith('/'))).toEqual(
      places.includes('libnixl_capi.so') ? ['libnixl_capi.so'] : [],
    );
  });

  it('refuses a relative NIXL_HOME', async () => {
    const child = Child.program('test/helpers/nixl/programs/search.ts', [], { env: { NIXL_HOME: 'here' } });
    onTestFinished(() => child.stop());
    await child.exit();
    expect(child.output).toContain('NIXL_HOME: expected an absolute path, got "here"');
  });

  it('accepts a file of this user that only this user can write', () => {
    const error = refusal(plant(join(folder, 'libnixl_capi.so')));
    expect(error).toMatchObject({ reason: 'nixl.not_loaded' });
    expect(error.tried[0]?.reason).not.toMatch(/not trusted/);
  });

  it.each<[string, number, (path: string) => string]>([
    ['a file that its group can write', 0o775, (path) => path],
    ['a file that everyone can write', 0o757, (path) => path],
    ['a folder that its group can write', 0o775, dirname],
    ['a folder above that everyone can write', 0o777, (path) => dirname(dirname(path))],
  ])('refuses %s, and names it', (_what, mode, at) => {
    const path = plant(join(folder, 'x/y/libnixl_capi.so'));
    chmodSync(at(path), mode);
    const error = refusal(path);
    expect(error).toMatchObject({ reason: 'nixl.untrusted', class: 'Unavailable' });
    expect(error.message).toContain(`${at(path)} can be written by other users (mode 0${mode.toString(8)})`);
    expect(error.tried).toEqual([{ path, reason: expect.stringContaining(`not trusted: ${at(path)} can be`) }]);
  });

  it('refuses a file of another user, and names it', (context) => {
    if (process.getuid?.() !== 0) context.skip('only root can make a file of another user');
    const path = plant(join(folder, 'libnixl_capi.so'));
    chownSync(path, NOBODY, NOBODY);
    expect(refusal(path).message).toContain(`${path} belongs to the user ${NOBODY}`);
  });

  it('examines the file that a link names', () => {
    const path = plant(join(folder, 'open/libnixl_capi.so'));
    chmodSync(dirname(path), 0o777);
    mkdirSync(join(folder, 'closed'));
    symlinkSync(path, join(folder, 'closed/libnixl_capi.so'));
    expect(refusal(join(folder, 'closed/libnixl_capi.so')).message).toContain(`${dirname(path)} can be written`);
  });

  it('refuses a wheel if another library of it can be written by others', () => {
    const path = plant(join(folder, WHEEL));
    const other = plant(join(folder, 'lib/python3.12/site-packages/nixl_cu12.libs/ucx/libuct_any.so.0'));
    expect(refusal(path)).toMatchObject({ reason: 'nixl.not_loaded' });
    chmodSync(other, 0o777);
    expect(refusal(path).message).toContain(`nixl_cu12.libs/ucx/libuct_any.so.0 can be written by other users`);
  });

  it('warns in the mode auto, and uses the mock', async () => {
    const path = plant(join(folder, 'libnixl_capi.so'));
    chmodSync(path, 0o777);
    const warned = once(process, 'warning');
    expect(loadNixl({ mode: 'auto', path }).kind).toBe('mock');
    expect(String((await warned)[0])).toContain(`${path} can be written by other users`);
  });

  it('refuses a plugin that others can write', () => {
    const path = plant(join(folder, 'libnixl_capi.so'));
    chmodSync(plant(join(folder, 'plugins/libplugin_UCX.so')), 0o777);
    expect(refusal(path)).toMatchObject({ reason: 'nixl.untrusted' });
  });
});
