import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { defineService, graph } from 'dynamo-node/sdk';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dependencyOf } from '../../../lib/cli/new-dependency.js';
import { packageVersion } from '../../../lib/cli/version.js';
import { runCommand } from '../../helpers/cli/command.js';
import { root } from '../../helpers/project.js';

const FILES = ['.gitignore', 'README.md', 'graph.test.ts', 'graph.ts', 'package.json', 'tsconfig.json', 'worker.ts'];

let cwd: string;

beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'dynamo-new-'));
});

afterEach(() => rm(cwd, { recursive: true }));

const packageOf = async (name: string) =>
  JSON.parse(await readFile(join(cwd, name, 'package.json'), 'utf8')) as Record<string, Record<string, string>>;

describe('dynamo new', () => {
  it('writes a project and says what to do next', async () => {
    const { code, stdout } = await runCommand(['new', 'my-graph'], { cwd });
    expect(code).toBe(0);
    expect((await readdir(join(cwd, 'my-graph'))).sort()).toEqual(FILES);
    expect(await packageOf('my-graph')).toMatchObject({
      name: 'my-graph',
      dynamo: { graph: 'graph.ts' },
      // The tests run a checkout.
      dependencies: { 'dynamo-node': `file:${relative(join(cwd, 'my-graph'), root)}` },
    });
    expect(stdout).toContain('  cd my-graph\n  npm install\n  npm test\n  npm start\n');
  });

  it('names another dependency', async () => {
    await runCommand(['new', 'a', '--dependency', 'file:../x.tgz'], { cwd });
    expect((await packageOf('a'))['dependencies']).toMatchObject({ 'dynamo-node': 'file:../x.tgz' });
  });

  it.each([
    ['my_app', 'my-app'],
    ['app.v2', 'app-v2'],
    ['9_', '9'],
    ['a'.repeat(70), 'a'.repeat(63)],
  ])('writes for the folder %s the graph %s, a name that graphs accept', async (folder, name) => {
    expect(await runCommand(['new', folder], { cwd })).toMatchObject({ code: 0 });
    expect(await readFile(join(cwd, folder, 'graph.ts'), 'utf8')).toContain(
      `export default graph('${name}', Frontend);`,
    );
    expect(graph(name, defineService('One')).name).toBe(name);
    expect((await packageOf(folder))['name']).toBe(folder);
  });

  it('writes into the current folder, if it has no more than a repository', async () => {
    const here = join(cwd, 'here');
    await mkdir(join(here, '.git'), { recursive: true });
    const { code, stdout } = await runCommand(['new', '.', '--json'], { cwd: here });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ folder: here, files: expect.arrayContaining(FILES) });
    expect((await packageOf('here'))['name']).toBe('here');
  });

  it('refuses a folder that is not empty, and leaves it as it is', async () => {
    await mkdir(join(cwd, 'full'));
    await writeFile(join(cwd, 'full', 'a.txt'), 'mine');
    const { code, stderr } = await runCommand(['new', 'full'], { cwd });
    expect(code).toBe(73);
    expect(stderr).toContain(`error[E_EXISTS]: ${join(cwd, 'full')}: the folder is not empty: it has a.txt`);
    expect(await readdir(join(cwd, 'full'))).toEqual(['a.txt']);
  });

  it('refuses a file', async () => {
    await writeFile(join(cwd, 'file'), '');
    expect(await runCommand(['new', 'file'], { cwd })).toMatchObject({ code: 73 });
  });

  it.each(['Upper', '-dash', 'a b', 'ü'])('rejects the name %s', async (name) => {
    const { code, stderr } = await runCommand(['new', '--', name], { cwd });
    expect(code).toBe(64);
    expect(stderr).toContain(`got '${name}'`);
    expect(await readdir(cwd)).toEqual([]);
  });
});

describe('the dependency of a new project', () => {
  const FOLDER = 'app/node_modules/dynamo-node';

  /** What a new project in `work/my-graph` names if `app/package.json` has this content. */
  async function dependency(manifest: string | object, packageFolder = FOLDER): Promise<string> {
    await mkdir(join(cwd, packageFolder), { recursive: true });
    await writeFile(join(cwd, 'app/package.json'), typeof manifest === 'string' ? manifest : JSON.stringify(manifest));
    return dependencyOf(join(cwd, packageFolder), join(cwd, 'work/my-graph'));
  }

  it.each([
    ['dependencies', 'file:dynamo-node-0.1.0.tgz', 'file:../../app/dynamo-node-0.1.0.tgz'],
    ['devDependencies', 'file:../downloads/x.tgz', 'file:../../downloads/x.tgz'],
    ['optionalDependencies', 'file:./my tarballs/x.tgz', 'file:../../app/my tarballs/x.tgz'],
    ['dependencies', 'file:~/x.tgz', 'file:~/x.tgz'],
  ])('is the file of this installation: %s %s', async (kind, spec, expected) => {
    expect(await dependency({ [kind]: { 'dynamo-node': spec } })).toBe(expected);
  });

  it.each(['file:', 'file://'])('is the file of this installation: %s and an absolute path', async (scheme) => {
    const spec = `${scheme}${join(cwd, 'x.tgz')}`;
    expect(await dependency({ dependencies: { 'dynamo-node': spec } })).toBe('file:../../x.tgz');
  });

  it('is the checkout whose command runs', async () => {
    expect(await dependency({ dependencies: { 'dynamo-node': '^0.1.0' } }, 'app/checkout')).toBe(
      'file:../../app/checkout',
    );
  });

  it('is found from a folder deeper in node_modules, as that of pnpm', async () => {
    const deeper = 'app/node_modules/.pnpm/dynamo-node@file/node_modules/dynamo-node';
    await mkdir(join(cwd, FOLDER), { recursive: true });
    expect(await dependency({ dependencies: { 'dynamo-node': 'file:x.tgz' } }, deeper)).toBe('file:../../app/x.tgz');
  });

  it.each([
    ['a version in package.json', { dependencies: { 'dynamo-node': '^0.1.0' } }],
    ['no such dependency', { dependencies: { other: 'file:x.tgz' } }],
    ['a dependency that is no text', { dependencies: { 'dynamo-node': 5 }, devDependencies: null }],
    ['a package.json that is no object', 'null'],
    ['a faulty package.json', '{'],
  ])('is the version with %s', async (_, manifest) => {
    expect(await dependency(manifest)).toBe(`^${packageVersion()}`);
  });
});
