import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

import { buildNixlTests } from '../../helpers/nixl/native-suite.js';
import { execute } from '../../helpers/project.js';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 60);

/** Whether a compiler is installed together with the libraries of libFuzzer and the sanitizers. */
async function hasFuzzer(compiler: string): Promise<boolean> {
  try {
    const { stdout } = await execute(compiler, ['-print-runtime-dir']);
    return readdirSync(stdout.trim()).some((name) => name.startsWith('libclang_rt.fuzzer'));
  } catch {
    return false;
  }
}

it('survives libFuzzer on metadata and descriptor lists', {
  timeout: (SECONDS + 600) * 1000,
}, async (context) => {
  const compilers = ['clang++', 'clang++-14', 'clang++-15', 'clang++-16', 'clang++-19'];
  const usable = await Promise.all(compilers.map(hasFuzzer));
  const compiler = compilers.find((_, index) => usable[index]);
  if (compiler === undefined)
    return context.skip('clang with libFuzzer is not installed (apt-get install clang libclang-rt-14-dev)');
  const folder = await buildNixlTests(
    'address,undefined',
    '-DLIBFUZZER=ON',
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    `-DCMAKE_C_COMPILER=${compiler.replace('++', '')}`,
  );
  const corpus = join(folder, 'corpus');
  mkdirSync(corpus, { recursive: true });
  const args = [`-max_total_time=${SECONDS}`, '-max_len=4096', `-artifact_prefix=${folder}/`, corpus];
  const { stderr } = await execute(join(folder, 'fuzz'), args, { maxBuffer: 256 * 1024 * 1024 });
  const [done] = stderr.match(/Done \d+ runs/) ?? [];
  console.log(done);
  expect(done).toBeDefined();
});
