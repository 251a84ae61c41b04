import { main } from './setup/index.mjs';
import { buildNative } from './setup/native.mjs';
import { checkPlatform } from './setup/platform.mjs';
import { installRust } from './setup/rust.mjs';
import { ensure } from './setup/steps.mjs';

await main(async () => {
  checkPlatform();
  await installRust();
  await (process.argv.includes('--prebuild') ? buildNative('prebuild') : ensure('native', { force: true }));
});
