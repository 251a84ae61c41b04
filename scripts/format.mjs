// npm run format: formats everything in place.
import { join } from 'node:path';
import { cppFiles, crates } from './lint/sources.mjs';
import { main } from './setup/index.mjs';
import { root, run, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';
import { clangTool } from './setup/tools.mjs';

await main(async () => {
  await installRust();
  await run(process.execPath, [join(root, 'node_modules/@biomejs/biome/bin/biome'), 'check', '--write']);
  const clangFormat = clangTool('clang-format');
  if (!clangFormat) throw new SetUpError('clang-format 14 is missing: install the Debian package clang-format-14');
  await run(clangFormat, ['-i', ...cppFiles()]);
  for (const folder of crates) await run('cargo', ['fmt'], { cwd: join(root, folder) });
});
