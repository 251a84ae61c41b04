import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isPure } from '../../../scripts/check-layers.mjs';
import { execute, root } from '../../helpers/project.js';

const lib = join(root, 'lib');

const pureFiles = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter(
  (file) => file.endsWith('.ts') && isPure(file),
);

const asDarwin = "Object.defineProperty(process, 'platform', { value: 'darwin' });";

let folder: string;

/** Compiles the pure files into a folder without node_modules and without an addon. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dynamo-pure-'));
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
  for (const file of pureFiles) {
    const { outputText } = ts.transpileModule(readFileSync(join(lib, file), 'utf8'), { compilerOptions });
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file.replace(/\.ts$/, '.js')), outputText);
  }
});

afterAll(() => rmSync(folder, { recursive: true }));

/** What a program prints that runs among the compiled files, on a machine that looks like a Mac. */
async function runOnDarwin(program: string): Promise<string> {
  const args = [
    '--import',
    `data:text/javascript,${encodeURIComponent(asDarwin)}`,
    '--input-type=module',
    '-e',
    program,
  ];
  const { stdout } = await execute(process.execPath, args, { cwd: folder });
  return stdout.trim();
}

describe('the pure files', () => {
  it('include the ground', () => {
    expect(pureFiles).toEqual(expect.arrayContaining(['check.ts', 'errors.ts', 'options.ts', 'words.ts']));
  });

  it('load on macOS without the addon', async () => {
    const modules = pureFiles.map((file) => `./${file.replace(/\.ts$/, '.js')}`);
    const program = `
      for (const module of ${JSON.stringify(modules)}) await import(module);
      console.log(process.platform);`;
    expect(await runOnDarwin(program)).toBe('darwin');
  });

  it('declare, link and configure a graph on macOS without the addon', async () => {
    const program = `
      import { applyConfig, defineService, depends, graph, mergeConfig, parseOverrides } from './sdk/index.js';
      const Worker = defineService('Worker').endpoint('generate', async function* () {});
      const Frontend = defineService('Frontend', { deps: { worker: depends(Worker) } });
      const one = graph('g', Frontend).chain(Frontend, Worker).scale({ Worker: 2 });
      const spec = applyConfig(one.toJSON(), mergeConfig(['Frontend', 'Worker'], [parseOverrides(['--Worker.a=1'])]));
      console.log(JSON.stringify(spec.services.map(({ name, workers, config }) => [name, workers, config])));`;
    expect(await runOnDarwin(program)).toBe('[["Worker",2,{"a":1}],["Frontend",1,{}]]');
  });

  it('check options and make errors on macOS without the addon', async () => {
    const program = `
      import { DynamoError } from './errors.js';
      import { integer, optionTable } from './options.js';
      const table = optionTable({ replicas: integer(1) });
      try { table.check('service options', { replicas: 0 }); } catch (error) { console.log(error.message); }
      console.log(new DynamoError('Unavailable', 'later').code);`;
    expect(await runOnDarwin(program)).toBe(
      'service options.replicas: expected an integer from 1 to 9007199254740991, got 0\nDYN_UNAVAILABLE',
    );
  });
});
