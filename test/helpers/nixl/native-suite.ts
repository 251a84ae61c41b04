import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { execute, root } from '../project.js';

const sitePackages = (): string[] => {
  const lib = join(root, '.peers/lib');
  if (!existsSync(lib)) return [];
  return readdirSync(lib).map((name) => join(lib, name, 'site-packages/.nixl_cu12.mesonpy.libs/libnixl_capi.so'));
};

/** The library of the wheel that the set-up installs. Undefined without it. */
export const nixlLibrary = sitePackages().find((path) => existsSync(path));

export type Sanitizers = 'address,undefined' | 'thread';

/** Builds the C++ test programs of native/nixl if a source has changed. Returns their folder. */
export async function buildNixlTests(sanitizers: Sanitizers, ...more: string[]): Promise<string> {
  const folder = join(root, 'build/nixl', [sanitizers.replace(',', '-'), ...more].join('-').replaceAll(/[^\w-]/g, ''));
  await execute('cmake', [
    '-S',
    join(root, 'native/nixl/test'),
    '-B',
    folder,
    '-G',
    'Ninja',
    `-DSANITIZE=${sanitizers}`,
    ...more,
  ]);
  await execute('cmake', ['--build', folder], { maxBuffer: 64 * 1024 * 1024 });
  return folder;
}

export interface Ran {
  /** Every line that is not a passed row, such as failed rows and reports of sanitizers. */
  readonly complaints: string[];
  readonly rows: number;
  /** The program's notes, such as why rows were left out. */
  readonly notes: string[];
}

const SUMMARY = /^(\d+) rows, 0 failed$/;

/** Runs a program that prints one line per row, and a summary. */
export async function runRows(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  const options = { env: { ...process.env, ...env }, maxBuffer: 64 * 1024 * 1024, timeout: 300_000 };
  const { stdout, stderr, code } = await execute(program, args, options).then(
    (output) => ({ ...output, code: 0 }),
    (error: { stdout: string; stderr: string; code?: number | null }) => ({ ...error, code: error.code ?? -1 }),
  );
  const lines = stdout.trimEnd().split('\n');
  const rows = Number(lines.map((line) => SUMMARY.exec(line)?.[1]).find((count) => count !== undefined) ?? 0);
  const rest = lines.filter(
    (line) => !/^(ok\t|# )/.test(line) && !SUMMARY.test(line) && !/^\[\d+\.\d+\] .* UCX /.test(line),
  );
  const complaints = [...rest, ...stderr.split('\n').filter((line) => line !== '')];
  if (code !== 0) complaints.push(`it ended with ${code}`);
  return { complaints, rows, notes: lines.filter((line) => line.startsWith('# ')).map((line) => line.slice(2)) };
}
