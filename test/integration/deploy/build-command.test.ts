import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Child, type Exit } from '../../helpers/child.js';
import { runCommand } from '../../helpers/cli/command.js';
import { WrittenArtifact } from '../../helpers/deploy/artifacts.js';
import { treeOf, UserProject, WORDS } from '../../helpers/deploy/user-project.js';
import { root } from '../../helpers/project.js';

const home = mkdtempSync(join(tmpdir(), 'dynamo-home-'));
afterAll(() => rmSync(home, { recursive: true }));

interface Result extends Pick<Exit, 'code'> {
  readonly stdout: string;
  readonly output: string;
}

/** Runs the command in a process of its own, as a user does in the folder of a project. */
async function dynamo(cwd: string, ...args: string[]): Promise<Result> {
  const env = { TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json'), DYN_HOME: home };
  let stdout = '';
  const onLine = (line: string): boolean => {
    stdout += `${line}\n`;
    return true;
  };
  const child = Child.program('lib/cli/main.ts', args, { cwd, env, onLine });
  const { code } = await child.exit();
  return { code, stdout, output: child.output };
}

describe('dynamo build', () => {
  let version: string;
  const projects: UserProject[] = [];

  beforeAll(async () => {
    for (const folder of ['out', 'a/deeper/out']) {
      const project = new UserProject({ ...WORDS, 'agg.yaml': 'Worker:\n  limit: 3\n  ServiceArgs: {workers: 4}\n' });
      projects.push(project);
      const { code, stdout, output } = await dynamo(
        project.folder,
        'build',
        'graph.ts',
        '-o',
        folder,
        '--config',
        'agg.yaml',
        '--oci',
        'image',
      );
      expect({ code, output }).toEqual({ code: 0, output: '' });
      [, version = ''] = /^Successfully built words:([0-9a-f]{8})\.$/m.exec(stdout) ?? [];
      expect(version).not.toBe('');
    }
    return () => projects.forEach((project) => project[Symbol.dispose]());
  });

  it('writes equal artifacts and images in two folders', async () => {
    const [first, second] = projects as [UserProject, UserProject];
    const tree = await treeOf(first.path('out'));
    expect(await treeOf(second.path('a/deeper/out'))).toEqual(tree);
    expect(tree).toHaveProperty(['configs/agg.yaml']);
    expect(await treeOf(second.path('image'))).toEqual(await treeOf(first.path('image')));
  });

  it('writes JavaScript from which the same graph is loaded, with its configuration beside it', async () => {
    const [project] = projects as [UserProject];
    const { stdout } = await dynamo(project.folder, 'graph', 'out', '--json');
    const { stdout: artifact } = await dynamo(project.folder, 'get', './out', '--json');
    const built = JSON.parse(artifact).graph;
    const worker = built.services.find(({ name }: { name: string }) => name === 'Worker');
    expect(worker).toMatchObject({ workers: 4, config: { limit: 3 } });
    const loaded = JSON.parse(stdout);
    expect(loaded.services.map(({ name }: { name: string }) => name)).toEqual(
      built.services.map(({ name }: { name: string }) => name),
    );
    expect(loaded.services[0].endpoints).toEqual(worker.endpoints);
  });

  it.each([
    ['.', 66, 'E_NO_ARTIFACT', `${resolve(root)} is no artifact: it has no dynamo.yaml`],
    ['..', 66, 'E_NO_ARTIFACT', 'is no artifact: it has no dynamo.yaml'],
    ['./lib', 66, 'E_NO_ARTIFACT', `${join(root, 'lib')} is no artifact: it has no dynamo.yaml`],
    ['lib/cli', 66, 'E_NO_ARTIFACT', `${join(root, 'lib/cli')} is no artifact: it has no dynamo.yaml`],
    ['./absent', 66, 'E_NO_ARTIFACT', `${join(root, 'absent')} is no artifact: there is no such folder`],
    ['absent', 66, 'E_NO_ARTIFACT', 'artifact absent is not in '],
    ['graph.ts', 64, 'E_BAD_TAG', "artifact: expected a name of a-z, 0-9 and -, at most 63 characters, got 'graph.ts'"],
  ])('is needed by `dynamo get %s`, which ends with %i and %s', async (target, code, name, message) => {
    const failed = await runCommand(['get', target], { cwd: root, env: { DYN_HOME: home } });
    expect(failed).toMatchObject({ code, stderr: expect.stringContaining(`error[${name}]: `) });
    expect(failed.stderr).toContain(message);
    if (name === 'E_BAD_TAG') expect(failed.stderr).toContain('A tag is NAME or NAME:VERSION, such as words:1.0.');
  });

  it('keeps artifacts by name and version, lists them, and does not replace one with another', async () => {
    const [project] = projects as [UserProject];
    const built = await dynamo(project.folder, 'build', '.', '--config', 'agg.yaml', '--json');
    const folder = join(home, 'packages/words', version);
    expect(JSON.parse(built.stdout)).toMatchObject({ name: 'words', version, folder });
    const { ino } = statSync(folder);
    expect(await dynamo(project.folder, 'build', '.', '--config', 'agg.yaml')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`Successfully built words:${version}.`),
    });
    expect(statSync(folder).ino).toBe(ino);
    expect(await dynamo(project.folder, 'build', '.', '--tag', `words:${version}`)).toMatchObject({
      code: 73,
      output: expect.stringContaining(`Output directory ${folder} already exists. Use --force to overwrite.`),
    });
    expect((await dynamo(project.folder, 'build', '.', '--config', 'agg.yaml', '-f')).code).toBe(0);
    expect(statSync(folder).ino).not.toBe(ino);
    expect(readdirSync(join(home, 'packages/words'))).toEqual([version]);
    const env = { DYN_HOME: home };
    expect((await runCommand(['list'], { env })).stdout).toBe(
      `NAME   VERSION   SERVICES  FOLDER\nwords  ${version}  2         ${folder}\n`,
    );
    for (const tag of ['words', `words:${version}`])
      expect((await runCommand(['get', tag], { env })).stdout).toContain(`Artifact  words:${version}\n`);
    const deployed = await runCommand(['deploy', `words:${version}`, '--dry-run=client', '-o', 'json'], { env });
    expect(JSON.parse(deployed.stdout).spec.components).toMatchObject([
      { name: 'Frontend', replicas: 1 },
      { name: 'Worker', replicas: 4 },
    ]);
  });

  it.each([
    [['get', 'words:1234'], 66, 'artifact words:1234 is not in'],
    [['get', '../words:1'], 64, 'artifact: expected a name of a-z, 0-9 and -'],
    [['get', 'words:../..'], 64, 'artifact: expected a version of letters'],
    [['get', './node_modules'], 66, 'node_modules is no artifact: it has no dynamo.yaml'],
    [['build', 'gone.ts'], 66, 'gone.ts: no such file or folder'],
    [['build', 'graph.ts', '--tag', 'Words'], 64, '--tag: expected a name of a-z, 0-9 and -'],
    [['build', 'graph.ts', '--image', 'Worker'], 64, "--image: expected KEY=VALUE, got 'Worker'"],
    [['build', 'graph.ts', '--image', 'Nobody=agg:1'], 65, 'error[E_BAD_DEPLOYMENT]: manifest options.images'],
    [['build', 'graph.ts', '--runtime-version', 'x'], 65, 'expected a version such as 1.6.1, got "x"'],
    [['build', 'graph.ts', '--Other.key=1'], 65, 'Other: unknown service'],
  ])('ends %j with exit code %i', async (args, code, text) => {
    const [project] = projects as [UserProject];
    expect(await dynamo(project.folder, ...args)).toMatchObject({ code, output: expect.stringContaining(text) });
  });

  it('shows a deployment without an image, and says what stands in its place', async () => {
    const [project] = projects as [UserProject];
    const { code, stdout, output } = await dynamo(
      project.folder,
      'deploy',
      'graph.ts',
      '--dry-run=client',
      '-o',
      'json',
    );
    expect(code).toBe(0);
    expect(stdout).toContain('"image": "words:VERSION"');
    expect(output).toContain('image: words:VERSION stands for an image that is not built yet; name it with --image');
    expect(await dynamo(project.folder, 'deploy', 'graph.ts')).toMatchObject({
      code: 64,
      output: expect.stringContaining('Worker has no image'),
    });
  });

  it.each(['build', 'deploy'])('%s names the flag for a Python service without an image', async (command) => {
    using project = new UserProject({
      'graph.ts': `import { frontendService, graph, pythonService } from 'dynamo-node/sdk';

const Worker = pythonService('Worker', { module: 'dynamo.vllm' });
export default graph('chat', frontendService('Front')).with(Worker);
`,
    });
    const flags = command === 'build' ? [] : ['--dry-run=client'];
    const { code, output } = await dynamo(project.folder, command, 'graph.ts', ...flags);
    expect(code).toBe(65);
    expect(output).toContain('error[E_NO_IMAGE]: Worker runs dynamo.vllm, and has no image with Python');
    expect(output).toContain('hint: name one with --image Worker=IMAGE');
    const named = await dynamo(project.folder, command, 'graph.ts', ...flags, '--image', 'Worker=vllm-runtime:1.6.1');
    expect(named.code).toBe(0);
  });

  it('warns of a dependency that the image cannot install', async () => {
    const from = 'file:../dynamo-node-0.1.0.tgz';
    using project = new UserProject(WORDS, { dependencies: { 'dynamo-node': from } });
    const { code, output } = await dynamo(project.folder, 'build', 'graph.ts', '-o', 'out');
    expect({ code, output }).toEqual({
      code: 0,
      output: `warning: dynamo-node@${from} is not packed, so the image cannot install it; name a published version\n`,
    });
  });

  it('keeps a project that is named as its own output', async () => {
    using project = new UserProject(WORDS);
    for (const flags of [
      ['-o', '.'],
      ['-o', 'out', '--oci', '.'],
    ]) {
      const { code, output } = await dynamo(project.folder, 'build', 'graph.ts', '--force', ...flags);
      expect({ code, output }).toMatchObject({ code: 73, output: expect.stringContaining('error[E_NOT_REPLACED]') });
      expect(readdirSync(project.folder)).toContain('graph.ts');
    }
  });

  it('says which image builders it has looked for', async () => {
    const [project] = projects as [UserProject];
    const { code, stderr } = await runCommand(['build', 'graph.ts', '--containerize', '--json'], {
      cwd: project.folder,
      env: { PATH: home },
    });
    expect(code).toBe(69);
    expect(JSON.parse(stderr)).toMatchObject({
      code: 'E_NO_BUILDER',
      message: 'no image builder is available (docker: not installed; podman: not installed; buildah: not installed)',
    });
  });
});

describe('a folder that is no artifact', () => {
  it('is named by dynamo get, and a damaged one by dynamo list', async () => {
    using artifact = new WrittenArtifact();
    artifact.write('src/graph.js', 'changed');
    expect(await runCommand(['get', artifact.folder])).toMatchObject({
      code: 65,
      stderr: expect.stringContaining('src/graph.js: expected the SHA-256'),
    });
    const env = { DYN_HOME: mkdtempSync(join(home, 'other-')) };
    using stored = new WrittenArtifact();
    stored.change({ schema: 'other' });
    mkdirSync(join(env.DYN_HOME, 'packages/agg'), { recursive: true });
    renameSync(stored.folder, join(env.DYN_HOME, 'packages/agg/1a2b3c4d'));
    expect((await runCommand(['list'], { env })).stdout).toMatch(/^agg\s+1a2b3c4d\s+damaged/m);
  });
});
