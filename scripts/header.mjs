import { homedir } from 'node:os';
import { join } from 'node:path';
import { main } from './setup/index.mjs';
import { root, run } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

await main(async () => {
  await installRust();
  const manifest = join(root, 'scripts/header/Cargo.toml');
  await run(
    'cargo',
    ['run', '--quiet', '--release', '--locked', '--manifest-path', manifest, '--', ...process.argv.slice(2)],
    {
      cwd: join(root, 'native/core'),
      env: { ...process.env, CARGO_TARGET_DIR: join(homedir(), '.cache/dynamo-node/header') },
    },
  );
});
