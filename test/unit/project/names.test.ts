import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import ts from 'typescript';
import { describe, expect, it } from 'vitest';

import { root } from '../../helpers/project.js';

const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => {
    const path = join('lib', file);
    return ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.Latest, true);
  });

/** Options in microseconds, which are too short for milliseconds. */
const MICROSECONDS = new Set(['progressDelayUs', 'latencyUs', 'lateCopyUs']);

const isExported = (node: ts.HasModifiers): boolean =>
  node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true;

/** The names that a file itself declares and exports. */
function exportedNames(source: ts.SourceFile): string[] {
  const names = source.statements.flatMap((statement) => {
    if (!ts.canHaveModifiers(statement) || !isExported(statement)) return [];
    if (ts.isVariableStatement(statement))
      return statement.declarationList.declarations.map(({ name }) => name.getText(source));
    const { name } = statement as unknown as { readonly name?: ts.Identifier };
    return name === undefined ? [] : [name.text];
  });
  return [...new Set(names)];
}

/** The names of the rows of every option table: `optionTable<Options>({ ... })`, and constants of rows. */
function optionNames(source: ts.SourceFile): string[] {
  const names: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isObjectLiteralExpression(node) && isTable(node.parent))
      names.push(...node.properties.flatMap(({ name }) => (name === undefined ? [] : [name.getText(source)])));
    ts.forEachChild(node, visit);
  };
  visit(source);
  return names;
}

function isTable(parent: ts.Node): boolean {
  if (ts.isCallExpression(parent)) return parent.expression.getText() === 'optionTable';
  return ts.isVariableDeclaration(parent) && parent.type?.getText().startsWith('OptionRows<') === true;
}

/** Why an option name breaks `docs/style.md`, or undefined. */
function faultOf(name: string): string | undefined {
  if (/^(most|least)[A-Z]/.test(name)) return 'a bound begins with max or min';
  if (/^(deadline|timeLimit)/.test(name)) return 'a limit on a wait is timeoutMs';
  if (/(timeout|interval|duration|ttl|delay|period)$/i.test(name)) return 'a duration ends in Ms or Seconds';
  if (MICROSECONDS.has(name)) return undefined;
  if (/[a-z](Millis|Milliseconds|Secs|Sec|Micros|Us)$/.test(name)) return 'a duration ends in Ms or Seconds';
  return undefined;
}

describe('the names of lib', () => {
  it('have one meaning each', () => {
    const files = new Map<string, string[]>();
    for (const source of sources) {
      // Every command has its code in a file of its own, by one name.
      const names = exportedNames(source).filter((name) => name !== 'run' || !source.fileName.endsWith('-action.ts'));
      for (const name of names) files.set(name, [...(files.get(name) ?? []), source.fileName]);
    }
    const shared = [...files].filter(([, places]) => places.length > 1);
    expect(Object.fromEntries(shared)).toEqual({});
  });

  it('of options follow docs/style.md', () => {
    const names = sources.flatMap(optionNames);
    expect(names.length).toBeGreaterThan(100);
    const faults = names.flatMap((name) => {
      const fault = faultOf(name);
      return fault === undefined ? [] : [`${name}: ${fault}`];
    });
    expect(faults).toEqual([]);
  });
});

describe('the check of option names', () => {
  it.each(['mostLeases', 'leastFree', 'deadlineMs', 'timeLimitMs', 'timeout', 'pollInterval', 'leaseSecs'])(
    'rejects %s',
    (name) => {
      expect(faultOf(name)).toBeDefined();
    },
  );

  it.each(['maxLeases', 'timeoutMs', 'leaseTtlSeconds', 'blockSize', 'status'])('accepts %s', (name) => {
    expect(faultOf(name)).toBeUndefined();
  });
});
