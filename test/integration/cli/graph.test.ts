import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GraphSpec } from 'dynamo-node/sdk';
import { afterAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../helpers/cli/command.js';
import { dynamo } from '../../helpers/cli/process.js';
import { root } from '../../helpers/project.js';

const cwd = join(root, 'test/helpers/deploy/graphs');

describe('dynamo graph', () => {
  it('shows a graph as a table, as JSON and as a diagram', async () => {
    const { code, stdout } = await runCommand(['graph', 'folder'], { cwd });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^SERVICE +ROLE +PROGRAM +WORKERS +GPU +DEPENDS ON$/m);
    const spec = JSON.parse((await runCommand(['graph', 'folder', '--json'], { cwd })).stdout) as { schema: string };
    expect(spec.schema).toBe('dynamo-node.graph/v1');
    expect((await runCommand(['graph', 'folder', '--mermaid'], { cwd })).stdout).toMatch(/^graph LR\n/);
    const diagram = await runCommand(['graph', 'folder', '--mermaid', '--json'], { cwd });
    expect(JSON.parse(diagram.stdout)).toEqual({ mermaid: expect.stringMatching(/^graph LR\n/) });
  });

  it.each([
    ['nope.ts', 66, 'E_GRAPH_NOT_FOUND'],
    ['roots.ts', 65, 'E_BAD_GRAPH'],
  ])('rejects %s with exit code %d', async (target, code, name) => {
    const { stderr, ...result } = await runCommand(['graph', target, '--json'], { cwd });
    expect(result).toEqual({ code, stdout: '' });
    expect(JSON.parse(stderr)).toMatchObject({ code: name, path: join(cwd, target) });
  });
});

describe('a graph with arguments for its services', () => {
  it('warns of an option of a service that stands beside ServiceArgs', async () => {
    const args = ['serve', 'words.ts', '--dry-run', '--json'];
    const misplaced = await runCommand([...args, '--Upper.workers=3'], { cwd });
    expect(misplaced).toMatchObject({
      code: 0,
      stderr:
        'warning: Upper.workers is a parameter of the service; its option is Upper.ServiceArgs.workers ' +
        '(--Upper.workers)\n',
    });
    const right = await runCommand([...args, '--Upper.ServiceArgs.workers=3'], { cwd });
    expect(right).toMatchObject({ code: 0, stderr: '' });
    const workersOf = ({ stdout }: { stdout: string }) =>
      (JSON.parse(stdout) as { spec: GraphSpec }).spec.services.find(({ name }) => name === 'Upper');
    expect(workersOf(misplaced)).toMatchObject({ workers: 1, config: { workers: 3 } });
    expect(workersOf(right)).toMatchObject({ workers: 3, config: {} });
  });
});

describe('dynamo graph of a module', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-modules-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  async function show(lines: readonly string[], ...flags: string[]) {
    const file = join(folder, 'graph.mjs');
    writeFileSync(file, lines.join('\n'));
    const child = dynamo(['graph', file, ...flags]);
    const { code } = await child.exit();
    return { code, output: child.output };
  }

  it('ends although the module has a timer', async () => {
    const url = new URL('../../../lib/sdk/index.ts', import.meta.url);
    const { code, output } = await show([
      `import { defineService, graph } from '${url.href}';`,
      'setInterval(() => {}, 1000);',
      "export default graph('timer', defineService('Echo').endpoint('echo', async (text) => text));",
    ]);
    expect(code).toBe(0);
    expect(output).toContain('timer, entry Echo');
  });

  it('rejects TypeScript of a package without "type": "module"', async () => {
    const project = join(folder, 'commonjs');
    mkdirSync(project);
    writeFileSync(join(project, 'package.json'), '{"type":"commonjs"}');
    writeFileSync(join(project, 'graph.ts'), 'export const name: string = "a";\nexport default { name };\n');
    const child = dynamo(['graph', join(project, 'graph.ts'), '--json']);
    const { code } = await child.exit();
    expect(code).toBe(65);
    expect(JSON.parse(child.output)).toMatchObject({
      code: 'E_BAD_GRAPH',
      message: expect.stringContaining('graph.ts is loaded as a CommonJS module: expected an ES module'),
      hint: expect.stringContaining('npm pkg set type=module'),
    });
  });

  it('rejects an await that never ends', async () => {
    const { code, output } = await show(['await new Promise(() => {});'], '--json');
    expect(code).toBe(65);
    expect(JSON.parse(output)).toMatchObject({
      code: 'E_BAD_GRAPH',
      message: expect.stringContaining('graph.mjs cannot be loaded: an await outside its functions never ends'),
    });
  });

  it('names an error without a message', async () => {
    expect((await show(['throw new RangeError();'])).output).toContain('graph.mjs cannot be loaded: RangeError');
  });
});
