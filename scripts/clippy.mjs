// Lints native/core and its tests with clippy. `cargo clippy` would check the thousand dependencies again. This uses
// those of the last native build instead: it runs cargo's own build with clippy in place of the compiler.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main } from './setup/index.mjs';
import { root, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

const build = join(root, 'build/cmake');

await main(async () => {
  if (!existsSync(build)) throw new SetUpError('clippy needs a native build: run `npm run build:native`');
  await installRust();
  const folder = mkdtempSync(join(tmpdir(), 'clippy-'));
  try {
    const { stdout, stderr } = spawnSync('cmake', ['--build', build, '--target', 'core_clippy'], {
      encoding: 'utf8',
      env: { ...process.env, CLIPPY_FOLDER: folder },
      maxBuffer: 64 * 1024 * 1024,
    });
    if (!existsSync(join(folder, 'passed'))) throw new SetUpError(`${stdout}${stderr}\nclippy found faults`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
