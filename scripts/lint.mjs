// npm run lint: every check that is quick. npm run lint:native (-- --native here): clang-tidy and clippy.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nativeSteps } from './lint/native.mjs';
import { runSteps } from './lint/run.mjs';
import { cppFiles, crates } from './lint/sources.mjs';
import { main } from './setup/index.mjs';
import { root, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';
import { clangTool, hasComponent } from './setup/tools.mjs';

const bin = (name, ...args) => [process.execPath, join(root, 'node_modules', name), ...args];
const script = (name, ...args) => [process.execPath, join(root, 'scripts', name), ...args];
const setUpInstalls = '`npm test` installs it as root';

function quickSteps() {
  const clangFormat = clangTool('clang-format');
  const rustfmt = hasComponent('rustfmt');
  return [
    { name: 'types', command: bin('typescript/bin/tsc', '-p', 'tsconfig.check.json') },
    { name: 'types of the page', command: bin('typescript/bin/tsc', '--noEmit', '-p', 'lib/dashboard/page/browser') },
    { name: 'biome', command: bin('@biomejs/biome/bin/biome', 'check', '--error-on-warnings') },
    {
      name: 'clang-format',
      command: clangFormat && [clangFormat, '--dry-run', '-Werror', ...cppFiles()],
      missing: `clang-format 14 is missing: install the Debian package clang-format-14 (${setUpInstalls})`,
    },
    ...crates.map((folder) => ({
      name: `rustfmt ${folder}`,
      command: rustfmt ? ['cargo', 'fmt', '--check'] : undefined,
      missing: 'rustfmt is missing: run `rustup component add rustfmt` in native/core',
      cwd: join(root, folder),
    })),
    { name: 'layers', command: script('check-layers.mjs') },
    { name: 'typed options', command: script('check-options.mjs') },
    { name: 'words', command: script('check-words.mjs') },
    { name: 'Rust modules', command: script('rust-cycles.mjs') },
    { name: 'native seam', command: script('seam.mjs', '--check') },
    { name: 'options reference', command: script('options.mjs', '--check') },
  ];
}

await main(async () => {
  if (!existsSync(join(root, 'node_modules'))) throw new SetUpError('node_modules is missing: run `npm run setup`');
  await installRust();
  const steps = process.argv.includes('--native') ? nativeSteps() : quickSteps();
  const failed = await runSteps(steps);
  if (failed.length > 0) throw new SetUpError(`Failed: ${failed.join(', ')}. \`npm run format\` repairs formatting.`);
});
