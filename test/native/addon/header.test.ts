import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from '../../helpers/project.js';

const core = join(root, 'native/core');

interface Entry {
  readonly name: string;
  readonly says: string;
  readonly parameters: number;
  readonly result: string;
}

const words = (comment = ''): string =>
  comment
    .replace(/^ *\/{2,3} ?/gm, '')
    .replace(/\s+/g, ' ')
    .trim();
const count = (parameters = ''): number =>
  parameters === 'void' ? 0 : parameters.split(',').filter((one) => one.trim() !== '').length;
const sorted = (entries: Iterable<Entry>): Entry[] =>
  [...entries].sort((one, other) => (one.name < other.name ? -1 : 1));

function* entriesOfRust(): Generator<Entry> {
  const files = readdirSync(join(core, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.rs'),
  );
  for (const file of files) {
    const text = readFileSync(join(core, 'src', file), 'utf8');
    const comments = /((?:^\/\/\/.*\n)*)/.source;
    const start = /#\[unsafe\(no_mangle\)\]\s*pub (?:unsafe )?extern "C" fn /.source;
    // `dynamo_core_bind_address` is declared by the binding's own `bind`.
    const signature = /(dyn_\w+)\(([^)]*)\)(?: -> (?:\*\w+ )?(\w+))?/.source;
    const pattern = new RegExp(comments + start + signature, 'gm');
    for (const [, says, name = '', parameters, result = 'void'] of text.matchAll(pattern))
      yield { name, says: words(says), parameters: count(parameters), result };
  }
}

function* entriesOfHeader(): Generator<Entry> {
  const text = readFileSync(join(core, 'include/dynamo_core.h'), 'utf8');
  const pattern = /((?:^\/\/.*\n)*)^(?:struct )?(\w+) \*?(dyn_\w+)\(([^)]*)\);/gm;
  for (const [, says, result = '', name = '', parameters] of text.matchAll(pattern))
    yield { name, says: words(says), parameters: count(parameters), result };
}

describe('dynamo_core.h', () => {
  it('declares exactly the entries of the sources (`npm run header` generates it)', () => {
    const rust = sorted(entriesOfRust());
    expect(rust.length).toBeGreaterThan(100);
    expect(sorted(entriesOfHeader())).toEqual(rust);
  });
});
