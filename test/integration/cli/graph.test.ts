import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCommand } from '../../helpers/cli/command.js';
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
