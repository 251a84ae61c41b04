import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

const program = join(root, 'test/helpers/llm/programs/talk.ts');

function start(command: string, args: string[]): Child {
  const child = Child.start(command, args);
  onTestFinished(() => child.stop());
  return child;
}

/** Removes the colours and cursor movements of a terminal. */
const plain = (output: string): string => output.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '');

describe('a frontend on the terminal', () => {
  it('answers one prompt from standard input and ends', async () => {
    const child = start(process.execPath, ['--import', 'tsx', program, 'stdin']);
    child.write('one two three', true);
    expect(await child.exit()).toMatchObject({ code: 0, signal: null });
    expect(plain(child.output)).toContain('one two three');
  });

  it('holds a conversation', async () => {
    const talk = `${process.execPath} --import tsx ${program} text`;
    const command = `exec script --quiet --flush --command '${talk}' /dev/null >&2`;
    const child = start('sh', ['-c', command]);
    await waitFor(
      'the prompt',
      () => plain(child.output),
      (output) => output.includes('User'),
      120_000,
    );
    for (const line of ['alpha beta', 'gamma delta']) {
      const before = plain(child.output).length;
      child.write(`${line}\r`);
      // Once as the typed text, once as the answer.
      await waitFor(
        'the answer',
        () => plain(child.output).slice(before).split(line).length - 1,
        (times) => times >= 2,
      );
    }
    child.write('\u0003');
    await waitFor('the end', () => child.exited.then(() => true), Boolean);
  });
});
