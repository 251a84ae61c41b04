// npm run test:sanitizers [-- PATH...]: runs tests on an addon whose C++ and Rust report wrong uses of memory and, in
// C++, undefined behaviour (AddressSanitizer, UndefinedBehaviorSanitizer). Of Rust that is native/core. What Dynamo's
// crates, Node.js and NIXL's library allocate is watched too, but not what they do with it.
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { main } from './setup/index.mjs';
import { headersEnvironment, outputOf, root, run, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

const require = createRequire(import.meta.url);

const folder = join(root, 'build/sanitizers');
const reports = join(folder, 'reports');

/**
 * The calls of the addon, the ends of its environments, and the memory that both sides share. Not those that limit the
 * memory of a process, because AddressSanitizer reserves 20 TiB of addresses, and not those with many slow processes.
 */
const defaults = [
  'test/native/addon/boundary',
  'test/native/addon/exports',
  'test/native/addon/methods',
  'test/native/kvbm',
  'test/native/router',
  'test/integration/addon',
  'test/integration/kvbm',
  'test/integration/nixl/boundaries',
  'test/integration/nixl/faults',
  'test/integration/nixl/mock',
  'test/integration/runtime/bad-input',
  'test/integration/runtime/bidirectional',
  'test/integration/runtime/cancel',
  'test/integration/runtime/generator-ends',
  'test/integration/runtime/odd-values',
  'test/lifecycle/kvbm/owner',
  'test/lifecycle/nixl',
  'test/lifecycle/runtime',
];

async function buildAddon() {
  mkdirSync(folder, { recursive: true });
  // A build of this type has no _FORTIFY_SOURCE, whose checks the sanitizer does not see.
  const cmake = [require.resolve('cmake-js/bin/cmake-js'), 'compile', '--debug', '-d', join(root, 'native')];
  const settings = [
    `--CDCMAKE_PROJECT_INCLUDE=${join(root, 'scripts/sanitizers/sanitizers.cmake')}`,
    `--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(folder, 'build/Release')}`,
  ];
  const env = { ...process.env, ...headersEnvironment() };
  await run(process.execPath, [...cmake, '-O', join(folder, 'cmake'), ...settings], { env });
}

/** The library of AddressSanitizer. A program that was not compiled for it must load it first. */
function runtime() {
  const file = outputOf('g++', ['-print-file-name=libasan.so']);
  if (!file?.startsWith('/')) throw new SetUpError('libasan.so of g++ is missing: install its development package.');
  return file;
}

/** Whether the tests passed. The reports of all processes are files, also of those that the tests start. */
async function runTests(paths) {
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports, { recursive: true });
  const common = `log_path=${join(reports, 'report')}:print_stacktrace=1`;
  const env = {
    ...process.env,
    DYNAMO_NODE_PREBUILD: folder,
    LD_PRELOAD: runtime(),
    // Node.js keeps memory for the life of the process. Too large an allocation fails, as without a sanitizer.
    ASAN_OPTIONS: `${common}:detect_leaks=0:detect_stack_use_after_return=1:allocator_may_return_null=1`,
    UBSAN_OPTIONS: common,
  };
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  try {
    await run(process.execPath, [vitest, 'run', ...paths], { env });
    return true;
  } catch (error) {
    console.log(`sanitizers: ${error.message}`);
    return false;
  }
}

await main(async () => {
  await installRust();
  await buildAddon();
  const paths = process.argv.slice(2);
  const passed = await runTests(paths.length > 0 ? paths : defaults);
  const found = readdirSync(reports).sort();
  for (const name of found) console.log(`\n${name}:\n${readFileSync(join(reports, name), 'utf8')}`);
  console.log(`sanitizers: ${found.length} reports`);
  if (found.length > 0 || !passed) throw new SetUpError(passed ? 'A sanitizer has reported.' : 'A test has failed.');
});
