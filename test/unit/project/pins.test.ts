import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { hashesOf, listOf, platforms, pythons, versionsOf } from '../../../scripts/pins/list.mjs';
import { pinnedInstall } from '../../../scripts/setup/pip.mjs';
import { root } from '../../helpers/project.js';

const lists = readdirSync(join(root, 'scripts')).filter((name) => name.endsWith('.txt'));

const wheel = (name: string, sha256: string) => ({
  metadata: { name },
  download_info: { archive_info: { hashes: { sha256 } } },
});

describe('the lists of Python packages', () => {
  it.each(lists)('%s pins every package by version and hash, and says how it is made', (name) => {
    const text = readFileSync(join(root, 'scripts', name), 'utf8');
    expect(text).toMatch(/^# Made by node scripts\/pins\.mjs\./);
    const entries = text
      .replace(/^#.*\n/gm, '')
      .replaceAll(' \\\n', ' ')
      .trim()
      .split('\n');
    for (const entry of entries) expect(entry).toMatch(/^[\w.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+$/);
    expect(versionsOf(text)).toHaveLength(entries.length);
  });

  it('are made again from their own versions, with one hash for each different wheel', () => {
    const reports = [
      { install: [wheel('Numpy_Like', 'b'), wheel('pure', 'c')] },
      { install: [wheel('numpy-like', 'a'), wheel('pure', 'c')] },
    ];
    const text = listOf(['numpy.like==2.4.6', 'pure==1.0'], hashesOf(reports));
    expect(text.replace(/^#.*\n/gm, '')).toBe(
      'numpy.like==2.4.6 \\\n    --hash=sha256:a \\\n    --hash=sha256:b\npure==1.0 \\\n    --hash=sha256:c\n',
    );
    expect(versionsOf(text)).toEqual(['numpy.like==2.4.6', 'pure==1.0']);
    expect(listOf(versionsOf(text), hashesOf(reports))).toBe(text);
  });

  it('are not written if a package has no wheel', () => {
    expect(() => listOf(['absent==1.0'], new Map())).toThrow('absent==1.0: pip found no wheel');
  });

  it('have the wheels of the supported systems: glibc 2.36 and older, Python 3.11 of Debian and 3.12 of Ubuntu', () => {
    expect(platforms).toEqual(expect.arrayContaining(['manylinux_2_36_x86_64', 'manylinux_2_17_x86_64']));
    expect(platforms).not.toContain('manylinux_2_37_x86_64');
    expect(pythons).toEqual(expect.arrayContaining(['3.11', '3.12']));
  });

  it('are installed with their hashes, from wheels, without dependencies', () => {
    expect(pinnedInstall('list.txt')).toEqual(
      expect.arrayContaining(['--require-hashes', '--only-binary', ':all:', '--no-deps', '-r', 'list.txt']),
    );
  });
});
