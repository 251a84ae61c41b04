import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { install, writePackage } from '../../helpers/cli/package.js';
import { execute, root } from '../../helpers/project.js';
import { lowest } from '../../helpers/wait.js';

const MAX_HELP_MS = 150;

interface Dependent {
  readonly dependencies: Readonly<Record<string, string>>;
}

let folder: string;
let packageFolder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dynamo-package-'));
  packageFolder = join(folder, 'node_modules/dynamo-node');
  await writePackage(packageFolder);
});

afterAll(() => rm(folder, { recursive: true }));

const program = () => join(packageFolder, 'dist/cli/main.js');
const mac = join(root, 'test/helpers/cli/programs/mac-without-addon.mjs');

/** Runs `dynamo` on a pretended Mac. */
const onMac = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  execute(process.execPath, ['--import', mac, program(), ...args], { cwd: folder, env: { ...process.env, ...env } });

describe('the command of the package', () => {
  it('is an executable file of Node.js under both names', async () => {
    const { bin } = JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8')) as { bin: object };
    expect(bin).toEqual({ dynamo: 'dist/cli/main.js', 'dynamo-node': 'dist/cli/main.js' });
    await chmod(program(), 0o755);
    const { stdout } = await execute(program(), ['--version']);
    expect(stdout).toMatch(/^dynamo-node \d/);
  });

  it.each([['--help'], ['run --help'], ['build --help'], ['deployment create --help']])(
    'shows %s on a Mac without the addon and large packages',
    async (line) => {
      const { stdout } = await onMac(line.split(' '), { FORBID_IMPORTS: '1' });
      expect(stdout).toMatch(/^Usage: dynamo/);
    },
  );

  it('shows a graph on a Mac without the addon', async () => {
    const graph = [
      "import { defineService, graph } from 'dynamo-node/sdk';",
      "const Echo = defineService('Echo').endpoint('echo', async (text) => text);",
      "export default graph('echo', Echo);",
    ];
    const project = join(folder, 'graph');
    await install(project, packageFolder, []);
    await writeFile(join(project, 'graph.mjs'), graph.join('\n'));
    const { stdout } = await onMac(['graph', join(project, 'graph.mjs'), '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'echo', entry: 'Echo' });
  });

  it('examines a Mac, and says why the package cannot work there', async () => {
    const failed = onMac(['doctor', '--json', '--timeout-ms=100']);
    await expect(failed).rejects.toMatchObject({ code: 1 });
    const { ok, checks } = JSON.parse((await failed.catch((error: { stdout: string }) => error)).stdout) as {
      ok: boolean;
      checks: { name: string; status: string; found: string }[];
    };
    expect(ok).toBe(false);
    expect(checks.find(({ name }) => name === 'addon')).toMatchObject({
      status: 'error',
      found: expect.stringContaining('darwin is not supported'),
    });
  });

  it(`shows help with less than ${MAX_HELP_MS} ms of processor time`, async () => {
    const measure = async () => {
      const { stderr } = await onMac(['--help']);
      return Number(/^cpu ([\d.]+) ms$/m.exec(stderr)?.[1]);
    };
    // A shared core slows every process, so Node.js without a program is the measure there.
    const script = 'const { user, system } = process.cpuUsage(); console.log((user + system) / 1000)';
    const alone = await lowest(0, async () => Number((await execute(process.execPath, ['-e', script])).stdout));
    const limit = Math.max(MAX_HELP_MS, 2.5 * alone);
    const found = await lowest(limit, measure);
    console.log(`dynamo --help: ${found.toFixed(0)} ms of processor time; Node.js alone: ${alone.toFixed(0)} ms`);
    expect(found).toBeLessThan(limit);
  });
});

describe('a project of dynamo new', () => {
  it('has correct types and passes its test with the package', async () => {
    const tarball = { dependencies: { 'dynamo-node': 'file:dynamo-node.tgz' } };
    await writeFile(join(folder, 'package.json'), JSON.stringify(tarball));
    await execute(process.execPath, [program(), 'new', 'my_graph'], { cwd: folder });
    const project = join(folder, 'my_graph');
    const { dependencies } = JSON.parse(await readFile(join(project, 'package.json'), 'utf8')) as Dependent;
    expect(dependencies).toMatchObject({ 'dynamo-node': 'file:../dynamo-node.tgz' });
    await install(project, packageFolder, ['zod', 'vitest', 'vite', 'tsx', 'typescript', '@types/node']);
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    await execute(process.execPath, [tsc, '--noEmit'], { cwd: project });

    const env = { ...process.env, NO_COLOR: '1', VITEST: undefined, VITEST_POOL_ID: undefined, NODE_ENV: undefined };
    const vitest = join(root, 'node_modules/vitest/vitest.mjs');
    const { stdout } = await execute(process.execPath, [vitest, 'run'], { cwd: project, env });
    expect(stdout).toMatch(/Tests\s+2 passed/);

    const graph = await execute(process.execPath, [program(), 'graph', '.', '--mermaid'], { cwd: project });
    expect(graph.stdout).toBe('graph LR\n  Frontend([Frontend])\n  Worker[Worker]\n  Frontend --> Worker\n');

    await writeFile(join(project, 'package-lock.json'), '{"lockfileVersion": 3, "packages": {}}');
    const built = await execute(process.execPath, [program(), 'build', '.', '-o', 'out', '--json'], { cwd: project });
    expect(JSON.parse(built.stdout)).toMatchObject({ name: 'my-graph' });
  });
});
