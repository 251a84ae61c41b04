// Runs clang-tidy, given as the first argument, on every C++ file that the addon is built from.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { main } from '../setup/index.mjs';
import { headersEnvironment, outputOf, root, SetUpError } from '../setup/process.mjs';
import { runSteps } from './run.mjs';
import { relativeTo } from './source.mjs';

const require = createRequire(import.meta.url);
const folder = join(root, 'build/lint');

/** Writes compile_commands.json, which has the compiler's flags. CMake only configures; nothing is built. */
function configure() {
  const cmake = [require.resolve('cmake-js/bin/cmake-js'), 'configure', '-d', join(root, 'native'), '-O', folder];
  const options = { cwd: root, env: { ...process.env, ...headersEnvironment() } };
  if (outputOf(process.execPath, [...cmake, '--CDCMAKE_EXPORT_COMPILE_COMMANDS=ON'], options) === undefined)
    throw new SetUpError(`CMake could not configure ${folder}: run \`npm run build:native\` to see why`);
}

await main(async () => {
  const [clangTidy] = process.argv.slice(2);
  configure();
  const commands = JSON.parse(readFileSync(join(folder, 'compile_commands.json'), 'utf8'));
  const files = commands.map(({ file }) => relativeTo(root, file)).filter((file) => file.startsWith('native/'));
  const steps = files.map((file) => ({
    name: file,
    command: [clangTidy, '-p', folder, '--quiet', '--warnings-as-errors=*', file],
  }));
  const failed = await runSteps(steps);
  if (failed.length > 0) throw new SetUpError(`${failed.length} of ${files.length} files have faults`);
});
