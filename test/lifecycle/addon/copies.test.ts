import { copyFileSync, cpSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { addonFile, root } from '../../helpers/project.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

/** How the addon of a second installation relates to that of the first: its own file, a file of a shared store, or the very one. */
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

it.each<Addon>(['copied', 'hard-linked', 'shared'])(
  'two copies of the package in one process, the addon %s, call each other with errors that both know',
  async (addon) => {
    // Beside the addon: a hard link stays on its file system.
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
