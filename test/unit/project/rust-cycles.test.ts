import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { expandUse, rustCycles } from '../../../scripts/rust-cycles.mjs';

const pathsOf = (tree: string) => expandUse(tree).map(({ segments }) => segments.join('::'));

describe('expandUse', () => {
  it('returns a plain path', () => expect(pathsOf('crate::abi::Call')).toEqual(['crate::abi::Call']));

  it('expands nested braces', () =>
    expect(pathsOf('crate::{abi::{Call, Reply}, sink}')).toEqual([
      'crate::abi::Call',
      'crate::abi::Reply',
      'crate::sink',
    ]));

  it('returns the alias as the name', () => expect(expandUse('rmp::encode as mp')[0]?.name).toBe('mp'));
});

describe('rustCycles', () => {
  let checkout: string;

  beforeEach(() => {
    checkout = mkdtempSync(join(tmpdir(), 'rust-cycles-'));
  });

  afterEach(() => rmSync(checkout, { recursive: true }));

  const cyclesOf = (files: Record<string, string>) => {
    for (const [name, text] of Object.entries(files)) {
      const file = join(checkout, 'native/core/src', name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
    return rustCycles(checkout);
  };

  it('finds no cycle in native/core', () => expect(rustCycles()).toEqual([]));

  it('finds a cycle between files', () => {
    const files = { 'a.rs': 'use crate::b::B;\npub struct A(B);', 'b.rs': 'use super::a::A;\npub struct B(A);' };
    expect(cyclesOf(files)).toEqual([
      'native/core/src: a cycle of imports: a, b',
      'native/core/src: a cycle of imports: a, b',
    ]);
  });

  it('follows a name that a module re-exports', () => {
    const files = {
      'room/mod.rs': 'mod one;\npub use one::One;',
      'room/one.rs': 'use crate::b::B;\npub struct One(B);',
      'b.rs': 'use crate::room::One;\npub struct B(One);',
    };
    expect(cyclesOf(files)).toContain('native/core/src: a cycle of imports: b, room::one');
  });

  it('finds a cycle between top-level modules whose files have none', () => {
    const files = {
      'x/mod.rs': 'mod one;\nmod two;',
      'y/mod.rs': 'mod one;\nmod two;',
      'x/one.rs': 'use crate::y::one::One;\npub struct A(One);',
      'x/two.rs': 'pub struct Two;',
      'y/one.rs': 'pub struct One;',
      'y/two.rs': 'use crate::x::two::Two;\npub struct B(Two);',
    };
    expect(cyclesOf(files)).toEqual(['native/core/src: a cycle of imports: x, y']);
  });

  it('finds a path without a use, and ignores comments and strings', () => {
    expect(cyclesOf({ 'a.rs': 'fn a() { crate::b::b() }', 'b.rs': '// crate::a\nfn b() { "crate::a::a"; }' })).toEqual(
      [],
    );
    expect(cyclesOf({ 'b.rs': 'fn b() { crate::a::a() }' })).not.toEqual([]);
  });
});
