import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findArtifact, listArtifacts, parseTag } from '../../../lib/deploy/artifact-store.js';

const home = mkdtempSync(join(tmpdir(), 'dynamo-store-'));
afterAll(() => rmSync(home, { recursive: true }));

describe('the store of artifacts', () => {
  const words = join(home, 'packages', 'words');
  // A build that was killed leaves the folder that it wrote, and the one that it replaced.
  for (const version of ['1.0', '1.0.0a1b2c3d.part', '1.0.0a1b2c3d.part.old'])
    mkdirSync(join(words, version), { recursive: true });
  const env = { DYN_HOME: home };

  it('has no artifact that was not written completely', async () => {
    expect((await listArtifacts(env)).map(({ name, version }) => `${name}:${version}`)).toEqual(['words:1.0']);
    expect(await findArtifact('words', env)).toBe(join(words, '1.0'));
  });

  it.each(['words:1.part', 'words:1.part.old'])('rejects the tag %s with E_BAD_TAG', (tag) => {
    expect(() => parseTag('--tag', tag)).toThrow(
      expect.objectContaining({ code: 'E_BAD_TAG', message: expect.stringContaining('not ending in .part') }),
    );
  });
});
