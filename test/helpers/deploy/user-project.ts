import { type Dirent, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';

import { root } from '../project.js';

/** Files by their paths. */
export type ProjectFiles = Readonly<Record<string, string>>;

export const PACKAGE = {
  name: 'shop',
  version: '1.0.0',
  type: 'module',
  dependencies: { 'dynamo-node': '0.1.0' },
  devDependencies: { tsx: '4.23.15' },
};

export const GRAPH = `import { type ClientOf, depends, endpoint, graph, service } from 'dynamo-node/sdk';
import { Worker } from './worker.js';

@service({ role: 'frontend' })
class Frontend {
  @depends(Worker) readonly worker!: ClientOf<Worker>;

  @endpoint()
  async *generate(text: string) {
    for await (const word of this.worker.generate(text)) yield word.toUpperCase();
  }
}

export default graph('words', Frontend);
`;

export const WORKER = `import { endpoint, service } from 'dynamo-node/sdk';

@service({ workers: 2 })
export class Worker {
  @endpoint()
  async *generate(text: string) {
    yield* text.split(' ');
  }
}
`;

export const WORDS: ProjectFiles = { 'graph.ts': GRAPH, 'worker.ts': WORKER };

/** A project of a user in a folder of the system's temporary folder, with the tools of this repository. */
export class UserProject implements Disposable {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'dynamo-project-')));

  /** `changes` replaces fields of package.json; a lockfile is there unless `files` has one of its own. */
  constructor(files: ProjectFiles, changes: object = {}) {
    const lockfile = { name: 'shop', lockfileVersion: 3, packages: {} };
    this.write({
      'package.json': JSON.stringify({ ...PACKAGE, ...changes }),
      'package-lock.json': JSON.stringify(lockfile),
      ...files,
    });
    mkdirSync(join(this.folder, 'node_modules'));
    for (const tool of ['tsx', 'esbuild']) this.link(`node_modules/${tool}`, join(root, 'node_modules', tool));
    this.link('node_modules/dynamo-node', root);
  }

  write(files: ProjectFiles): void {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(this.path(path)), { recursive: true });
      writeFileSync(this.path(path), text);
    }
  }

  link(path: string, target: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true });
    symlinkSync(target, this.path(path));
  }

  path(path: string): string {
    return join(this.folder, path);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Every entry below a folder. Links are not followed, unlike by a recursive `readdir` of Node.js 26. */
async function entriesBelow(folder: string): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const below = entries.map((entry) => (entry.isDirectory() ? entriesBelow(join(folder, entry.name)) : []));
  return [...entries, ...(await Promise.all(below)).flat()];
}

/** Every entry below a folder with its mode, and the text of files. */
export async function treeOf(folder: string): Promise<Record<string, string>> {
  const found = await Promise.all(
    (await entriesBelow(folder)).map(async (entry) => {
      const path = join(entry.parentPath, entry.name);
      const mode = ((await stat(path)).mode & 0o777).toString(8);
      return [
        relative(folder, path),
        `${mode} ${entry.isFile() ? await readFile(path, 'latin1') : entry.name}`,
      ] as const;
    }),
  );
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}
