import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

import { findGraph, loadGraph } from '../../../lib/deploy/load-graph.js';
import { root } from '../../helpers/project.js';

const graphs = join(root, 'test/helpers/deploy/graphs');
const namesOf = async (target: string) => {
  const { graph } = await loadGraph(target, graphs);
  return [graph.name, ...graph.services.map(({ name }) => name)];
};
const failure = (target: string, cwd = graphs) =>
  loadGraph(target, cwd).then(
    () => 'no error',
    ({ code, exitCode, message }: { code: string; exitCode: number; message: string }) =>
      `${code} ${exitCode} ${message.replaceAll(`${graphs}/`, '')}`,
  );

describe('loadGraph', () => {
  it('returns the only graph that a module exports, although it exports services too', async () => {
    expect(await namesOf('words.ts')).toEqual(['staging', 'Splitter', 'Upper']);
  });

  it('returns the default export of the graph.ts of a folder', async () => {
    expect(await namesOf('folder')).toEqual(['by-default', 'One']);
  });

  it('returns the graph of the only root of a module without a graph', async () => {
    expect(await namesOf('root.ts')).toEqual(['Root', 'Leaf', 'Root']);
  });

  it('returns the graph or the service that the target names', async () => {
    expect(await namesOf('several.ts:second')).toEqual(['second', 'Two']);
    expect(await namesOf('words.ts:Splitter')).toEqual(['Splitter', 'Splitter']);
  });

  it('rejects several roots with their names', async () => {
    expect(await failure('roots.ts')).toBe(
      "E_BAD_GRAPH 65 Multiple root services found in module 'roots.ts': [One, Two]. " +
        "Please specify which service to use with 'roots.ts:<service_name>'",
    );
  });

  it('rejects several graphs with their names', async () => {
    expect(await failure('several.ts')).toBe(
      "E_BAD_GRAPH 65 several.ts exports several graphs: first, second. Select one with 'several.ts:NAME'",
    );
  });

  it('rejects an export that is not there or is no graph', async () => {
    expect(await failure('words.ts:Other')).toBe(
      "E_BAD_GRAPH 65 words.ts has no export 'Other'; it has Splitter, Upper, staging, unrelated",
    );
    expect(await failure('words.ts:unrelated')).toBe(
      'E_BAD_GRAPH 65 words.ts:unrelated: expected a graph or a service',
    );
  });

  it('rejects a module that throws with its message', async () => {
    expect(await failure('faulty.ts')).toBe('E_BAD_GRAPH 65 graphs/faulty.ts cannot be loaded: no such model');
  });

  it('rejects a module that ends the process', async () => {
    expect(await failure('exiting.ts')).toBe(
      'E_BAD_GRAPH 65 graphs/exiting.ts cannot be loaded: it calls process.exit(3) while it is loaded',
    );
  });

  it('rejects a path that does not exist, and a folder without a graph', async () => {
    expect(await failure('missing.ts')).toBe('E_GRAPH_NOT_FOUND 66 missing.ts: no such file or folder');
    expect(await failure('..')).toMatch(/^E_GRAPH_NOT_FOUND 66 .* has no graph: expected "dynamo"/);
  });
});

describe('findGraph', () => {
  const folder = mkdtempSync(join(tmpdir(), 'load-graph-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const project = (name: string, files: Readonly<Record<string, string>>): string => {
    mkdirSync(join(folder, name));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, file), text);
    return name;
  };

  it('returns the export that package.json names, unless the target names one', () => {
    const manifest = JSON.stringify({ dynamo: { graph: 'main.mjs:Staging' } });
    const name = project('exports', { 'package.json': manifest, 'main.mjs': 'throw 1' });
    expect(findGraph(name, folder)).toMatchObject({ file: join(folder, name, 'main.mjs'), exportName: 'Staging' });
    expect(findGraph(`${name}:Other`, folder)).toMatchObject({ exportName: 'Other' });
  });

  it('returns the module that package.json names, without running it', () => {
    const manifest = JSON.stringify({ dynamo: { graph: 'main.mjs' } });
    const name = project('named', { 'package.json': manifest, 'main.mjs': 'throw 1', 'graph.js': '' });
    const found = { file: join(folder, name, 'main.mjs'), exportName: undefined, loader: undefined };
    expect(findGraph(name, folder)).toEqual(found);
  });

  it('returns the loader of TypeScript for a .ts file', () => {
    const name = project('typed', { 'graph.ts': '' });
    expect(findGraph(`${name}/graph.ts:Main`, folder)).toEqual({
      file: join(folder, name, 'graph.ts'),
      exportName: 'Main',
      loader: expect.stringMatching(/^file:.*tsx/) as string,
    });
  });

  it.each([
    ['a package.json that is no JSON', '{', /E_BAD_GRAPH.*expected JSON/],
    ['a graph that is no path', '{"dynamo":{"graph":1}}', /E_BAD_GRAPH.*dynamo\.graph: expected a path, got 1/],
    ['a graph that does not exist', '{"dynamo":{"graph":"no.ts"}}', /E_GRAPH_NOT_FOUND.*no\.ts: no such file, but/],
  ])('rejects %s', (title, manifest, expected) => {
    const name = project(title, { 'package.json': manifest });
    let thrown: { code?: string; message?: string } = {};
    try {
      findGraph(name, folder);
    } catch (error) {
      thrown = error as typeof thrown;
    }
    expect(`${thrown.code} ${thrown.message}`).toMatch(expected);
  });
});
