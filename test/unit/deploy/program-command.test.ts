import { describe, expect, it } from 'vitest';

import { programCommand } from '../../../lib/deploy/local/program-command.js';

const LOADER = 'file:///project/node_modules/tsx/dist/loader.mjs';
const importsOf = (command: readonly string[]) => command.filter((_, index) => command[index - 1] === '--import');

describe('programCommand', () => {
  it('needs no loader for a graph in JavaScript', () => {
    expect(programCommand('file:///package/dist/spawn.js', 'worker')).toEqual([
      process.execPath,
      '/package/dist/worker.js',
    ]);
  });

  it('leaves the loader of a graph in TypeScript to a program in JavaScript', () => {
    const command = programCommand('file:///package/dist/spawn.js', 'worker', LOADER);
    expect(command.at(-1)).toBe('/package/dist/worker.js');
    const [late = '', ...others] = importsOf(command);
    expect(others).toEqual([]);
    expect(new URL(late).pathname).toMatch(/\/late-loader\.js$/);
    expect(new URL(late).searchParams.get('loader')).toBe(LOADER);
  });

  it('loads a program in TypeScript with tsx, and with no loader twice', () => {
    const [tsx = '', ...others] = importsOf(programCommand('file:///package/lib/spawn.ts', 'worker'));
    expect(tsx).toMatch(/\/tsx\//);
    expect(others).toEqual([]);
    expect(importsOf(programCommand('file:///package/lib/spawn.ts', 'worker', tsx))).toEqual([tsx]);
    expect(importsOf(programCommand('file:///package/lib/spawn.ts', 'worker', LOADER))).toEqual([tsx, LOADER]);
  });
});
