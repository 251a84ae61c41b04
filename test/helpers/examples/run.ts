import { join } from 'node:path';
import { execute, root } from '../project.js';

/** Runs the program of an example, and returns the lines that it prints. Rejects if it fails. */
export async function runExample(name: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const main = join(root, 'examples', name, 'main.ts');
  const { stdout } = await execute(process.execPath, ['--import', 'tsx', main, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
  });
  return stdout.trimEnd().split('\n');
}
