import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../lib/cli/commands.js';
import { SHELLS } from '../../../lib/cli/completion.js';
import { runCommand } from '../../helpers/cli/command.js';

const script = async (shell: string) => (await runCommand(['completion', shell])).stdout;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dynamo-completion-'));
});

afterEach(() => rm(folder, { recursive: true }));

/** What bash offers for a line, with the functions of its completion. */
async function offered(line: string): Promise<string[]> {
  await writeFile(join(folder, 'dynamo'), await script('bash'));
  await writeFile(join(folder, 'prompts.jsonl'), '');
  const program = [
    `cd '${folder}'; source ./dynamo`,
    'COMP_LINE=$1; COMP_POINT=$(printf %s "$1" | wc -c)',
    `_dynamo; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join('\n');
  const { stdout } = await promisify(execFile)('bash', ['-c', program, 'bash', line]);
  return stdout.split('\n').filter((word) => word !== '');
}

describe('dynamo completion', () => {
  it('completes commands in bash', async () => {
    expect(await offered('dynamo gra')).toEqual(['graph']);
    const names = COMMANDS.filter(({ hidden }) => hidden !== true).map(({ name }) => name.split(' ')[0]);
    expect(new Set(await offered('dynamo '))).toEqual(new Set([...names, '--version', '--help']));
  });

  it('completes commands of a group in bash', async () => {
    expect(await offered('dynamo deployment cr')).toEqual(['create']);
  });

  it('completes flags and words in bash', async () => {
    expect(await offered('dynamo run --http-')).toEqual(['--http-host', '--http-port']);
    expect(await offered('dynamo run in=http out=m')).toEqual(['mocker']);
    expect(await offered('dynamo graph graph.ts --mer')).toEqual(['--mermaid']);
    expect(await offered('dynamo completion f')).toEqual(['fish']);
  });

  it('completes files after a colon in bash', async () => {
    expect(await offered('dynamo run in=batch:pro')).toEqual(['prompts.jsonl']);
  });

  it.each(SHELLS)('names every command and flag for %s', async (shell) => {
    const text = await script(shell);
    for (const { name, options, hidden } of COMMANDS) {
      if (hidden === true) continue;
      expect(text).toContain(name.split(' ').at(-1));
      for (const { flag } of options.flags()) expect(text).toContain(shell === 'fish' ? `-l ${flag.slice(2)}` : flag);
    }
  });

  it('writes the script as JSON', async () => {
    const { stdout } = await runCommand(['completion', 'zsh', '--json']);
    expect(JSON.parse(stdout)).toEqual({ shell: 'zsh', script: expect.stringContaining('#compdef dynamo') });
  });

  it('rejects another shell', async () => {
    expect(await runCommand(['completion', 'tcsh'])).toMatchObject({
      code: 64,
      stderr: "error[E_USAGE]: expected a shell of bash, zsh, fish, got 'tcsh'\n",
    });
  });
});
