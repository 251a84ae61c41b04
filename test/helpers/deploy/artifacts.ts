import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { parse, stringify } from 'yaml';

import { GRAPHS } from './graphs.js';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A small valid artifact in a temporary folder, which a test then damages. */
export class WrittenArtifact implements Disposable {
  /** The parent of the artifact, so that a test sees what is written beside it. */
  readonly parent = mkdtempSync(join(tmpdir(), 'dynamo-artifact-'));
  readonly folder = join(this.parent, 'artifact');

  constructor(files: Readonly<Record<string, string>> = { 'src/graph.js': 'export {};\n', 'package.json': '{}' }) {
    for (const [path, text] of Object.entries(files)) this.write(path, text);
    this.writeManifest({
      schema: 'dynamo-node.artifact/v1',
      name: 'agg',
      version: '1a2b3c4d',
      digest: sha256('content'),
      entry: 'src/graph.js',
      runtime: { dynamo: '1.6.1', node: '24' },
      transpiler: 'esbuild 0.28.2',
      graph: GRAPHS.aggregated,
      files: Object.entries(files)
        .map(([path, text]) => ({ path, sha256: sha256(text) }))
        .sort((a, b) => (a.path < b.path ? -1 : 1)),
    });
  }

  write(path: string, text: string): void {
    const file = join(this.folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  get manifest(): Record<string, unknown> & { files: { path: string; sha256: string }[] } {
    return parse(readFileSync(join(this.folder, 'dynamo.yaml'), 'utf8')) as never;
  }

  writeManifest(manifest: object): void {
    this.write('dynamo.yaml', stringify(manifest, { aliasDuplicateObjects: false }));
  }

  /** Writes the manifest with other fields. */
  change(changes: object): void {
    this.writeManifest({ ...this.manifest, ...changes });
  }

  [Symbol.dispose](): void {
    rmSync(this.parent, { recursive: true, force: true });
  }
}
