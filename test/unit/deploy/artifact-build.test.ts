import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { GraphSpec } from 'dynamo-node/sdk';
import { afterAll, describe, expect, it } from 'vitest';

import { type ArtifactInput, planArtifact, writeArtifact } from '../../../lib/deploy/artifact.js';
import { isNeverPacked } from '../../../lib/deploy/artifact-files.js';
import { ARTIFACT_SCHEMA, artifactName } from '../../../lib/deploy/artifact-manifest.js';
import { readArtifact } from '../../../lib/deploy/artifact-read.js';
import { GRAPHS } from '../../helpers/deploy/graphs.js';
import { PACKAGE, type ProjectFiles, treeOf, UserProject, WORDS } from '../../helpers/deploy/user-project.js';

const folder = mkdtempSync(join(tmpdir(), 'dynamo-artifacts-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The beginning of a manifest. */
const OLD = `schema: ${ARTIFACT_SCHEMA}\n`;

const inputOf = (project: UserProject, changes: Partial<ArtifactInput> = {}): ArtifactInput => ({
  graph: GRAPHS.aggregated,
  file: project.path('graph.ts'),
  runtimeVersion: '1.6.1',
  ...changes,
});

/** The text of the files of an artifact. */
async function planned(files: ProjectFiles, packageChanges = {}, changes: Partial<ArtifactInput> = {}) {
  using project = new UserProject(files, packageChanges);
  const { files: packed, manifest, skipped } = await planArtifact(inputOf(project, changes));
  const textOf = (path: string): string => {
    const content = packed.get(path);
    if (content === undefined) return `no ${path}`;
    return Buffer.isBuffer(content) ? String(content) : readFileSync(content.from, 'utf8');
  };
  return { paths: [...packed.keys()].sort(), textOf, manifest, skipped };
}

const failureOf = (files: ProjectFiles, packageChanges = {}) => planned(files, packageChanges).catch((error) => error);

describe('a build', () => {
  it('gives equal trees in two folders, whatever the umask', async () => {
    const trees: unknown[] = [];
    const before = process.umask();
    for (const umask of [0o022, 0o077]) {
      using project = new UserProject({ ...WORDS, 'run.sh': '#!/bin/sh\n' }, { dynamo: { files: ['run.sh'] } });
      process.umask(umask);
      try {
        await writeArtifact(await planArtifact(inputOf(project)), project.path('out/deep'));
      } finally {
        process.umask(before);
      }
      trees.push(await treeOf(project.path('out/deep')));
    }
    expect(trees[1]).toEqual(trees[0]);
    expect(Object.keys(trees[0] as object)).toEqual(
      expect.arrayContaining(['dynamo.yaml', 'deploy/dgd.yaml', 'env/docker/Dockerfile', 'src/graph.js', 'src/run.sh']),
    );
  });

  it('has another version if a source, the lockfile, the configuration or Dynamo changes', async () => {
    const { services } = GRAPHS.aggregated;
    const other: GraphSpec = { ...GRAPHS.aggregated, services: services.map((one) => ({ ...one, config: { a: 1 } })) };
    const versions = await Promise.all([
      planned(WORDS),
      planned({ ...WORDS, 'worker.ts': `${WORDS['worker.ts']}export const more = 1;\n` }),
      planned({ ...WORDS, 'package-lock.json': '{}' }),
      planned(WORDS, {}, { graph: other }),
      planned(WORDS, {}, { runtimeVersion: '1.7.0' }),
    ]);
    const found = versions.map(({ manifest }) => manifest.version);
    expect(new Set(found).size).toBe(found.length);
    for (const version of found) expect(version).toMatch(/^[0-9a-f]{8}$/);
  });

  it.each([
    ['pnpm-lock.yaml', "lockfileVersion: '9.0'\n", undefined, 'npx --yes pnpm@10 install --prod --frozen-lockfile'],
    ['pnpm-lock.yaml', "lockfileVersion: '6.0'\n", undefined, 'npx --yes pnpm@8 install --prod'],
    ['pnpm-lock.yaml', "lockfileVersion: '9.0'\n", 'pnpm@10.4.1+sha512.0a', 'npx --yes pnpm@10.4.1 install --prod'],
    ['yarn.lock', '# yarn lockfile v1\n', undefined, 'npx --yes yarn@1.22.22 install --production --frozen-lockfile'],
    ['npm-shrinkwrap.json', '{}', 'pnpm@10.4.1', 'npm ci --omit=dev'],
  ])('installs by the lockfile %s', async (name, content, packageManager, command) => {
    using project = new UserProject(
      { ...WORDS, [name]: content, 'pnpm-workspace.yaml': 'packages: []\n' },
      { packageManager },
    );
    rmSync(project.path('package-lock.json'));
    const { files } = await planArtifact(inputOf(project));
    expect(files.has(name)).toBe(true);
    const isPnpm = name.startsWith('pnpm');
    expect(files.has('pnpm-workspace.yaml')).toBe(isPnpm);
    const dockerfile = String(files.get('env/docker/Dockerfile'));
    expect(dockerfile).toContain(`COPY package.json ${name}${isPnpm ? ' pnpm-workspace.yaml' : ''} ./\nRUN ${command}`);
  });

  it('does not change its version with the name or with files that are not packed', async () => {
    const versions = await Promise.all([
      planned(WORDS),
      planned({ ...WORDS, 'README.md': 'more', '.env': 'TOKEN=1' }),
      planned(WORDS, {}, { name: 'other' }),
    ]);
    expect(new Set(versions.map(({ manifest }) => manifest.version)).size).toBe(1);
  });

  it('compiles TypeScript and names the compiled modules in imports', async () => {
    const { paths, textOf } = await planned(
      {
        'graph.ts': `import { graph } from 'dynamo-node/sdk';
          import './plain';
          import { deep } from './lib/deep.ts';
          import { aliased } from '#aliased';
          import data from './data.json' with { type: 'json' };
          import type { Unused } from './types.js';
          export const lazy = () => import('./lazy.js');
          export const url = new URL('worker.ts', import.meta.url);
          export default graph('words', [deep, aliased, data] as unknown as never as { new (): Unused });`,
        'plain.ts': 'console.log(1 as number);',
        'lib/deep.ts': "export { deeper as deep } from '../lib/deeper/index.mjs';",
        'lib/deeper/index.mts': 'export const deeper: number = 1;',
        'aliased.ts': 'export const aliased = 1;',
        'lazy.ts': 'export {};',
        'worker.ts': 'export {};',
        'types.ts': 'export type Unused = object;',
        'data.json': '{}',
      },
      { imports: { '#aliased': './aliased.ts' } },
    );
    expect(paths.filter((path) => path.startsWith('src/'))).toEqual([
      'src/aliased.js',
      'src/data.json',
      'src/graph.js',
      'src/lazy.js',
      'src/lib/deep.js',
      'src/lib/deeper/index.mjs',
      'src/plain.js',
      'src/worker.js',
    ]);
    const graph = textOf('src/graph.js');
    for (const part of [
      'import "./plain.js";',
      'from "./lib/deep.js";',
      'from "./aliased.js";',
      'from "./data.json" with { type: "json" };',
      'import("./lazy.js")',
      'new URL("./worker.js", import.meta.url)',
    ])
      expect(graph).toContain(part);
    expect(textOf('src/lib/deep.js')).toContain('from "./deeper/index.mjs";');
  });

  it('compiles to .mjs if the package is not of type module', async () => {
    const { paths, textOf } = await planned(WORDS, { type: undefined });
    expect(paths).toEqual(expect.arrayContaining(['src/graph.mjs', 'src/worker.mjs']));
    expect(textOf('src/graph.mjs')).toContain('from "./worker.mjs";');
    expect(JSON.parse(textOf('package.json'))).toMatchObject({ dynamo: { graph: 'src/graph.mjs' } });
  });

  it('copies JavaScript as it is', async () => {
    using project = new UserProject({ 'graph.js': "import  './worker.js' ;  // odd\n", 'worker.js': '//\n' });
    const { files } = await planArtifact({ ...inputOf(project), file: project.path('graph.js') });
    expect(String(files.get('src/graph.js'))).toBe("import  './worker.js' ;  // odd\n");
    expect(String(files.get('src/worker.js'))).toBe('//\n');
  });

  it('packs what the modules and package.json name, without secrets', async () => {
    const { paths, skipped } = await planned(
      {
        'graph.ts': "export const model = new URL('./model/', import.meta.url);",
        'model/weights.bin': 'w',
        'model/.env': 'S=1',
        'model/tls/server.key': 'S',
        'prompts/a.txt': 'a',
        'prompts/node_modules/x.txt': 'x',
        'unrelated.txt': 'u',
      },
      { dynamo: { files: ['prompts'] } },
    );
    expect(paths.filter((path) => path.startsWith('src/'))).toEqual([
      'src/graph.js',
      'src/model/weights.bin',
      'src/prompts/a.txt',
    ]);
    expect(skipped.map((path) => path.split('/').slice(-2).join('/'))).toEqual([
      'model/.env',
      'tls/server.key',
      'prompts/node_modules',
    ]);
  });

  it('writes a package.json without scripts that names the packed graph', async () => {
    const changes = { scripts: { prepare: 'husky' }, imports: { '#a': './a.js', '#b': { node: ['./b.js', 'b'] } } };
    const { textOf } = await planned(WORDS, changes, { exportName: 'Staging' });
    expect(JSON.parse(textOf('package.json'))).toEqual({
      ...PACKAGE,
      dynamo: { graph: 'src/graph.js:Staging' },
      imports: { '#a': './src/a.js', '#b': { node: ['./src/b.js', 'b'] } },
    });
  });

  it.each([
    ['file:../dynamo-node-0.1.0.tgz', true],
    ['link:../dynamo-node', true],
    ['workspace:*', true],
    ['../dynamo-node', true],
    ['./dynamo-node.tgz', true],
    ['/srv/dynamo-node', true],
    ['^0.1.0', false],
    ['npm:@team/dynamo-node@1', false],
    ['https://registry.example/dynamo-node.tgz', false],
  ])('names a dependency that the image cannot install: %s %s', async (from, isLocal) => {
    using project = new UserProject(WORDS, { dependencies: { 'dynamo-node': from } });
    const { localPackages } = await planArtifact(inputOf(project));
    expect(localPackages).toEqual(isLocal ? [`dynamo-node@${from}`] : []);
  });

  it('builds an image that runs without rights and installs no development packages', async () => {
    const { textOf } = await planned(WORDS);
    const dockerfile = textOf('env/docker/Dockerfile');
    expect(dockerfile.match(/^FROM docker\.io\/library\/node:24-bookworm-slim\b/gm)).toHaveLength(2);
    expect(dockerfile).toContain('COPY package.json package-lock.json ./\nRUN npm ci --omit=dev');
    expect(dockerfile.indexOf('USER 1024:1024')).toBeLessThan(dockerfile.indexOf('ENTRYPOINT'));
  });

  it.each([
    ['.env', '.env.production', '.npmrc', 'a/.ssh/config', '.aws/credentials', 'certs/server.key', 'CA.PEM', 'id_rsa'],
    ['.envrc', 'prod.env', '.vault-token', '.htpasswd', 'serviceAccountKey.json', 'terraform.tfstate', 'prod.tfvars'],
    ['application_default_credentials.json', 'service-account.json', 'terraform.tfstate.backup', 'my-secrets.yml'],
    ['id_ed25519.pub', 'secrets.yaml', 'credentials.json', 'kubeconfig', '.git/config', 'node_modules/a/index.js'],
  ])('never packs %s, %s, ...', (...paths) => {
    expect(paths.filter((path) => !isNeverPacked(path))).toEqual([]);
    expect(
      ['graph.ts', 'env/docker/Dockerfile', 'environment.ts', 'keys.ts', 'secret-santa.ts', 'tsconfig.json'].filter(
        isNeverPacked,
      ),
    ).toEqual([]);
  });

  it('makes a DNS label of the name of a graph', () => {
    expect(['MyGraph', '-a--B-', 'x'.repeat(70), 'a'.repeat(62).concat('-b')].map(artifactName)).toEqual([
      'mygraph',
      'a-b',
      'x'.repeat(63),
      'a'.repeat(62),
    ]);
  });
});

describe('a build refuses', () => {
  it.each<[string, ProjectFiles, object, string, RegExp]>([
    [
      'a secret as a module',
      { 'graph.ts': "import './.env.js';", '.env.js': '' },
      {},
      'E_NOT_PACKABLE',
      /\.env\.js is never packed, because it may contain a secret$/,
    ],
    [
      'a module outside the project',
      { 'graph.ts': "import '../../../../etc/hosts';" },
      {},
      'E_NOT_PACKABLE',
      /^\/etc\/hosts is outside the project /,
    ],
    [
      'a module that does not exist',
      { 'graph.ts': "\n  import './gone.js';" },
      {},
      'E_BAD_MODULE',
      /^graph\.ts:2:10: Could not resolve "\.\/gone\.js"$/,
    ],
    ['a syntax error', { 'graph.ts': 'const = 1;' }, {}, 'E_BAD_MODULE', /^graph\.ts:1:7: /],
    [
      'a JavaScript module that imports TypeScript',
      { 'graph.ts': "import './a.js';", 'a.js': "import './b.ts';", 'b.ts': '' },
      {},
      'E_BAD_MODULE',
      /^a\.js:1:8: a JavaScript module cannot import the TypeScript module '\.\/b\.ts'$/,
    ],
    [
      'a package that is only for development',
      { 'graph.ts': "import x from 'tsx'; export { x };" },
      {},
      'E_BAD_PROJECT',
      /^graph\.ts imports 'tsx', which is not in the dependencies of package\.json$/,
    ],
    [
      'a file that package.json names and does not exist',
      WORDS,
      { dynamo: { files: ['gone'] } },
      'E_BAD_PROJECT',
      /^package\.json dynamo\.files: gone does not exist$/,
    ],
    [
      'a file outside the project',
      WORDS,
      { dynamo: { files: ['../'] } },
      'E_NOT_PACKABLE',
      /is outside the project .*: only files below its package\.json are packed$/,
    ],
    [
      'a secret that package.json names',
      { ...WORDS, '.env': 'S' },
      { dynamo: { files: ['.env'] } },
      'E_NOT_PACKABLE',
      /^\.env is never packed/,
    ],
    [
      'a package.json that is no JSON',
      { ...WORDS, 'package.json': '{' },
      {},
      'E_BAD_PROJECT',
      /package\.json: expected JSON/,
    ],
  ])('%s', async (_, files, changes, code, message) => {
    expect(await failureOf(files, changes)).toMatchObject({
      code,
      exitCode: 65,
      message: expect.stringMatching(message),
    });
  });

  it.each([
    ['no lockfile', {}, 'none'],
    ['one of bun', { 'bun.lock': '' }, 'bun.lock'],
    ['one of a later yarn', { 'yarn.lock': '__metadata:\n  version: 8\n' }, 'yarn.lock of another version'],
    ['one of an older pnpm', { 'pnpm-lock.yaml': 'lockfileVersion: 5.4\n' }, 'pnpm-lock.yaml of another version'],
  ])('a project with %s', async (_, files: Record<string, string>, got) => {
    using project = new UserProject({ ...WORDS, ...files });
    rmSync(project.path('package-lock.json'));
    await expect(planArtifact(inputOf(project))).rejects.toMatchObject({
      code: 'E_BAD_PROJECT',
      message: `${project.folder}: expected a lockfile of npm, pnpm 8 or later, yarn 1, got ${got}`,
      hint: 'Write one: npm install --package-lock-only',
      exitCode: 65,
    });
  });

  it('a project without esbuild, with the npm command', async () => {
    using project = new UserProject(WORDS);
    rmSync(project.path('node_modules'), { recursive: true });
    await expect(planArtifact(inputOf(project))).rejects.toMatchObject({
      code: 'E_NO_ESBUILD',
      exitCode: 69,
      hint: 'Install it, or tsx, which has it: npm install --save-dev tsx',
    });
  });

  it.each([
    ['a file', 'model/link', '/etc/hostname'],
    ['a folder', 'model/link', '/etc'],
    ['the folder itself', 'model', '/etc'],
  ])('a symbolic link out of the project: %s', async (_, path, target) => {
    using project = new UserProject(WORDS, { dynamo: { files: ['model'] } });
    project.link(path, target);
    await expect(planArtifact(inputOf(project))).rejects.toMatchObject({
      code: 'E_NOT_PACKABLE',
      message: `${path} is a symbolic link to ${target}, which is outside the project ${project.folder}`,
    });
  });

  it('a symbolic link to a secret of the project, and one to its own folder', async () => {
    using project = new UserProject({ ...WORDS, '.env': 'S', 'model/a': '' }, { dynamo: { files: ['model'] } });
    project.link('model/link', project.path('.env'));
    await expect(planArtifact(inputOf(project))).rejects.toThrow('model/link is a symbolic link to .env');
    rmSync(project.path('model/link'));
    project.link('model/link', project.path('model'));
    await expect(planArtifact(inputOf(project))).rejects.toThrow(/link to a folder that contains it$/);
  });

  it('packs the content of a link inside the project', async () => {
    using project = new UserProject({ ...WORDS, 'weights/a': 'w' }, { dynamo: { files: ['model'] } });
    project.link('model', project.path('weights'));
    await writeArtifact(await planArtifact(inputOf(project)), project.path('out'));
    expect(await treeOf(project.path('out/src/model'))).toEqual({ a: '644 w' });
  });
});

describe('a written artifact', () => {
  it('does not replace another one, unless it is forced to', async () => {
    using project = new UserProject(WORDS);
    const artifact = await planArtifact(inputOf(project));
    const out = project.path('out');
    project.write({ 'out/dynamo.yaml': `${OLD}damaged: [`, 'out/old.txt': 'old' });
    await expect(writeArtifact(artifact, out)).rejects.toMatchObject({
      message: `Output directory ${out} already exists. Use --force to overwrite.`,
      exitCode: 73,
    });
    expect(readdirSync(out)).toEqual(['dynamo.yaml', 'old.txt']);
    await writeArtifact(artifact, out, true);
    expect((await readArtifact(out)).manifest).toEqual(artifact.manifest);
    expect(readdirSync(project.folder).filter((name) => name.startsWith('out'))).toEqual(['out']);
  });

  it.each(['.', 'other', 'file'])('never replaces what is not an artifact: %s', async (path) => {
    using project = new UserProject({ ...WORDS, 'other/dynamo.yaml': 'mine: true\n', file: 'mine' });
    const artifact = await planArtifact(inputOf(project));
    const before = await treeOf(project.folder);
    for (const force of [false, true])
      await expect(writeArtifact(artifact, project.path(path), force)).rejects.toMatchObject({
        code: 'E_NOT_REPLACED',
        exitCode: 73,
        message: `${project.path(path)} exists and is not an artifact, so it is not replaced`,
      });
    expect(await treeOf(project.folder)).toEqual(before);
  });

  it.each([false, true])('is not visible if it cannot be completed (over an old one: %s)', async (hasOld) => {
    using project = new UserProject({ ...WORDS, 'data/a.txt': 'a' }, { dynamo: { files: ['data'] } });
    const artifact = await planArtifact(inputOf(project));
    if (hasOld) project.write({ 'out/dynamo.yaml': OLD });
    rmSync(project.path('data/a.txt'));
    await expect(writeArtifact(artifact, project.path('out'), true)).rejects.toMatchObject({ code: 'ENOENT' });
    const left = readdirSync(project.folder).filter((name) => name.startsWith('out'));
    expect(left).toEqual(hasOld ? ['out'] : []);
    if (hasOld) expect(readFileSync(project.path('out/dynamo.yaml'), 'utf8')).toBe(OLD);
  });

  it('is written once by two builds at the same time', async () => {
    using project = new UserProject(WORDS);
    const artifact = await planArtifact(inputOf(project));
    const out = project.path('out');
    const results = await Promise.allSettled([writeArtifact(artifact, out), writeArtifact(artifact, out)]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const rejected = results.find((result) => result.status === 'rejected');
    expect(rejected?.reason).toMatchObject({ code: 'E_ARTIFACT_EXISTS', exitCode: 73 });
    expect((await readArtifact(out)).manifest).toEqual(artifact.manifest);
    expect(readdirSync(project.folder).filter((name) => name.startsWith('out'))).toEqual(['out']);
  });

  it('is not visible on a full disk', async ({ skip }) => {
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk], { stdio: 'ignore' });
    } catch {
      skip('a small tmpfs cannot be mounted here: it needs root');
    }
    try {
      using project = new UserProject(WORDS, { dynamo: { files: ['weights'] } });
      writeFileSync(project.path('weights'), Buffer.alloc(512 * 1024));
      const artifact = await planArtifact(inputOf(project));
      await expect(writeArtifact(artifact, join(disk, 'out'))).rejects.toMatchObject({ code: 'ENOSPC' });
      expect(readdirSync(disk)).toEqual([]);
    } finally {
      execFileSync('umount', [disk]);
    }
  });

  it('does not depend on the place of the project', async () => {
    using project = new UserProject(WORDS);
    const copy = join(folder, 'a folder with spaces', 'copy');
    cpSync(project.folder, copy, { recursive: true, verbatimSymlinks: true });
    const [here, there] = await Promise.all([
      planArtifact(inputOf(project)),
      planArtifact({ ...inputOf(project), file: join(copy, 'graph.ts') }),
    ]);
    expect(there.manifest).toEqual(here.manifest);
    expect(existsSync(join(copy, 'out'))).toBe(false);
  });
});
