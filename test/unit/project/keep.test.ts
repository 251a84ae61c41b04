import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';

import { keepingFile } from '../../../scripts/setup/keep.mjs';
import { root } from '../../helpers/project.js';

/** A file of the checkout, and the copy that is kept of it meanwhile. */
function fileOf(name: string, content?: string) {
  const output = `.setup/keep-test-${process.pid}-${name}`;
  const [path, kept] = [join(root, output), join(root, `${output}.before`)];
  onTestFinished(() => [path, kept].forEach((one) => void rmSync(one, { force: true })));
  mkdirSync(join(root, '.setup'), { recursive: true });
  if (content !== undefined) writeFileSync(path, content);
  return { output, path, kept, read: () => readFileSync(path, 'utf8') };
}

describe('keepingFile', () => {
  it('leaves what the work has made', async () => {
    const file = fileOf('made', 'old');
    await keepingFile(file.output, async () => writeFileSync(file.path, 'new'));
    expect([file.read(), existsSync(file.kept)]).toEqual(['new', false]);
  });

  it('restores the file if the work fails, also after it was removed', async () => {
    const file = fileOf('failed', 'old');
    const fail = (work: () => void) => async (): Promise<void> => {
      work();
      throw new Error('no compiler');
    };
    for (const work of [() => writeFileSync(file.path, 'half'), () => rmSync(file.path)]) {
      await expect(keepingFile(file.output, fail(work))).rejects.toThrow('no compiler');
      expect([file.read(), existsSync(file.kept)]).toEqual(['old', false]);
    }
  });

  it.each([
    ['has left half a file', 'half'],
    ['has left no file', undefined],
  ])('begins with the old file if an earlier run was killed and %s', async (_, left) => {
    const file = fileOf('killed', left);
    writeFileSync(file.kept, 'old');
    await expect(
      keepingFile(file.output, async () => {
        expect(file.read()).toBe('old');
        throw new Error('again');
      }),
    ).rejects.toThrow('again');
    expect(file.read()).toBe('old');
  });

  it('keeps nothing of a file that was not there', async () => {
    const file = fileOf('fresh');
    const half = keepingFile(file.output, async () => {
      writeFileSync(file.path, 'half');
      throw new Error('no compiler');
    });
    await expect(half).rejects.toThrow('no compiler');
    expect(existsSync(file.path)).toBe(false);
    await keepingFile(file.output, async () => writeFileSync(file.path, 'new'));
    expect([file.read(), existsSync(file.kept)]).toEqual(['new', false]);
  });
});
