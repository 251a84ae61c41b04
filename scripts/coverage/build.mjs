import { mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { headersEnvironment, root, run } from '../setup/process.mjs';

const require = createRequire(import.meta.url);

export const folder = join(root, 'build/coverage');
export const addon = join(folder, 'build/Release/dynamo_node.node');
export const cmakeFolder = join(folder, 'cmake');
const profiles = join(folder, 'rust');

/**
 * Builds an addon that counts the lines it runs. Dependencies are shared with the normal build: only the crate of this
 * repository is compiled again.
 */
export async function buildAddon() {
  mkdirSync(folder, { recursive: true });
  const cmake = [require.resolve('cmake-js/bin/cmake-js'), 'compile', '-d', join(root, 'native'), '-O', cmakeFolder];
  const settings = [
    `--CDCMAKE_PROJECT_INCLUDE=${join(root, 'scripts/coverage/coverage.cmake')}`,
    `--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(folder, 'build/Release')}`,
  ];
  const wrapper = join(root, 'scripts/coverage/rustc.sh');
  const env = { ...process.env, ...headersEnvironment(), RUSTC_WORKSPACE_WRAPPER: wrapper };
  await run(process.execPath, [...cmake, ...settings], { env });
}

const vitestOptions = [
  '--coverage.enabled',
  '--coverage.provider=v8',
  '--coverage.include=lib/**/*.ts',
  '--coverage.reporter=json-summary',
  '--coverage.reportOnFailure',
  `--coverage.reportsDirectory=${join(folder, 'lib')}`,
];

/** Runs the tests on that addon; a failed test does not end the measurement. */
export async function runTests({ native }) {
  rmSync(profiles, { recursive: true, force: true });
  const counting = { DYNAMO_NODE_PREBUILD: folder, LLVM_PROFILE_FILE: join(profiles, '%4m.profraw') };
  const env = { ...process.env, ...(native ? counting : {}) };
  try {
    await run(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...vitestOptions], { env });
  } catch (error) {
    console.log(`coverage: the figures are of a run with failures (${error.message})`);
  }
}

export const profileFolder = profiles;
