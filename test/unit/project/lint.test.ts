import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import ts from 'typescript';
import { describe, expect, it, onTestFinished } from 'vitest';
import { breaches } from '../../../scripts/check-layers.mjs';
import { untypedOptions } from '../../../scripts/check-options.mjs';
import { badWords, tooLong } from '../../../scripts/check-words.mjs';
import { runSteps } from '../../../scripts/lint/run.mjs';
import { clangTool } from '../../../scripts/setup/tools.mjs';
import { execute, root } from '../../helpers/project.js';

/** A checkout with these files alone. */
function checkout(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-lint-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return folder;
}

const parse = (code: string) => ts.createSourceFile('planted.ts', code, ts.ScriptTarget.Latest, true);

const exitCode = (program: string, args: string[], cwd: string) =>
  execute(program, args, { cwd }).then(
    () => 0,
    (error: { code: number }) => error.code,
  );

describe('the layer check', () => {
  it('finds a circle of imports', () => {
    const found = breaches(
      checkout({
        'lib/kvbm/a.ts': "import { b } from './b.js';\nexport const a = b;\n",
        'lib/kvbm/b.ts': "import { a } from './a.js';\nexport const b = a;\n",
      }),
    );
    expect(found).toEqual(['a circle of imports: lib/kvbm/a.ts, lib/kvbm/b.ts']);
  });

  it('finds a circle of types', () => {
    const found = breaches(
      checkout({
        'bench/a.ts': "import type { B } from './b.js';\nexport type A = B;\n",
        'bench/b.ts': "import { type A } from './a.js';\nexport type B = A;\n",
      }),
    );
    expect(found).toEqual(['a circle of types: bench/a.ts, bench/b.ts']);
  });

  it.each([
    ['static', "import { worker } from '../llm/worker.js';\nexport const a = worker;\n"],
    ['dynamic', "export const load = () => import('../llm/worker.js');\n"],
    ['of a type', "export type Worker = import('../llm/worker.js').Worker;\n"],
    ['exported again', "export * from '../llm/worker.js';\n"],
  ])('finds an import to the right: %s', (_, text) => {
    expect(breaches(checkout({ 'lib/runtime/client.ts': text }))).toEqual([
      'lib/runtime/client.ts: runtime may not import llm',
    ]);
  });

  it('finds a clock in a pure file, and an include across the native folders', () => {
    const found = breaches(
      checkout({
        'lib/planner/core/decide.ts': 'export const now = () => Date.now();\n',
        'native/nixl/agent.cc': '#include "dynamo_core.h"\n',
      }),
    );
    expect(found).toEqual([
      'lib/planner/core/decide.ts:1: a pure file may not use Date.now',
      'native/nixl/agent.cc: may not include dynamo_core.h',
    ]);
  });
});

describe('the option check', () => {
  it.each(["checkOptions('x options', options, KNOWN);", "checkObject('x options', options, ['a', 'b']);"])(
    'finds names that no type is tied to: %s',
    (code) => {
      expect(untypedOptions(parse(`\n${code}`))).toEqual([
        'planted.ts:2: check options with an optionTable of lib/options.ts',
      ]);
    },
  );

  it('accepts a table', () => {
    expect(untypedOptions(parse("TABLE.check('x options', options); checkObject('x', value);"))).toEqual([]);
  });
});

describe('the word check', () => {
  it('finds words that are never right', () => {
    expect(badWords('// Nobody tells it anew.')).toHaveLength(3);
    expect(badWords('// The caller reports it again, no more than twice.')).toEqual([]);
  });

  it('finds a line over 120 columns', () => {
    expect(tooLong('é'.repeat(120))).toEqual([]);
    expect(tooLong('a'.repeat(121))).toEqual(['121 columns; the most is 120']);
  });
});

describe('the format check', () => {
  it('finds an unformatted TypeScript file', async () => {
    const folder = checkout({ 'good.ts': "export const a = 'b';\n", 'bad.ts': 'export const a = "b"' });
    cpSync(join(root, 'biome.json'), join(folder, 'biome.json'));
    const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
    const check = (file: string) => exitCode(process.execPath, [biome, 'format', '--vcs-enabled=false', file], folder);
    expect(await check('good.ts')).toBe(0);
    expect(await check('bad.ts')).toBe(1);
  });

  it('finds an unformatted C++ file', async (context) => {
    const clangFormat = clangTool('clang-format');
    if (clangFormat === undefined) return context.skip('clang-format 14 is not installed');
    const folder = checkout({ 'good.cc': 'int main() { return 0; }\n', 'bad.cc': 'int main( ){return 0;}\n' });
    cpSync(join(root, '.clang-format'), join(folder, '.clang-format'));
    const check = (file: string) => exitCode(clangFormat, ['--dry-run', '-Werror', file], folder);
    expect(await check('good.cc')).toBe(0);
    expect(await check('bad.cc')).toBe(1);
  });
});

describe('the lint', () => {
  it('runs every step, prints the output of those that fail, and returns their names', async () => {
    const node = (code: string) => [process.execPath, '-e', code];
    const printed: string[] = [];
    const failed = await runSteps(
      [
        { name: 'first', command: node("console.error('why'); process.exit(1)") },
        { name: 'second', command: node("console.log('unseen')") },
        { name: 'third', missing: 'install the third' },
      ],
      (line) => printed.push(line),
    );
    expect(failed.sort()).toEqual(['first', 'third']);
    expect(printed.filter((line) => /^passed {2}second /.test(line))).toHaveLength(1);
    expect(printed).toEqual(expect.arrayContaining(['why', 'install the third']));
    expect(printed).not.toContain('unseen');
  });
});
