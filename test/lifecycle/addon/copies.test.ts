import { copyFileSync, cpSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { addonFile, root } from '../../helpers/project.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

/**
 * How the addon of a second installation relates to the first: a copy, a hard link (as in a shared store), or the same
 * file.
 */
type Addon = 'copied' | 'hard-linked' | 'shared';

function install(folder: string, addon: Addon): string {
  cpSync(join(root, 'lib'), join(folder, 'lib'), { recursive: true });
  copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  mkdirSync(join(folder, 'build/Release'), { recursive: true });
  const place = { copied: copyFileSync, 'hard-linked': linkSync, shared: symlinkSync }[addon];
  place(addonFile(), join(folder, 'build/Release/dynamo_node.node'));
  return join(folder, 'lib/index.ts');
}

describe('two copies of the package in one process', () => {
  it.each<Addon>(['copied', 'hard-linked', 'shared'])(
    'call each other with shared errors, with the addon %s',
    async (addon) => {
      // The folder is beside the addon, because a hard link needs the same file system.
      const folder = mkdtempSync(join(dirname(addonFile()), 'copy-'));
      onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
      const child = Child.program('test/lifecycle/programs/copies.ts', [install(folder, addon), temporaryFolder()]);
      onTestFinished(() => child.stop());
      expect(await child.event('done')).toMatchObject({ isDistinct: true });
      for (const index of [0, 1]) {
        expect(await child.event('answers', { index })).toMatchObject({
          answers: ['hello from 0', 'hello from 1'],
          isError: [true, true],
        });
      }
      expect(await child.exit()).toMatchObject({ code: 0, signal: null });
    },
  );
});
