import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packageVersion } from '../../../lib/cli/version.js';
import { runCommand } from '../../helpers/cli/command.js';

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
      dependencies: { 'dynamo-node': `^${packageVersion()}` },
    });
    expect(stdout).toContain('  cd my-graph\n  npm install\n  npm test\n  npm start\n');
  });

  it('names another dependency', async () => {
    await runCommand(['new', 'a', '--dependency', 'file:../x.tgz'], { cwd });
    expect((await packageOf('a'))['dependencies']).toEqual({ 'dynamo-node': 'file:../x.tgz' });
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
