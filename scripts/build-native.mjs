import { main } from './setup/index.mjs';
import { untilSignal } from './setup/keep.mjs';
import { buildNative } from './setup/native.mjs';
import { checkPlatform } from './setup/platform.mjs';
import { installRust } from './setup/rust.mjs';
import { ensure, forget } from './setup/steps.mjs';

await main(async () => {
  checkPlatform();
  await installRust();
  if (!process.argv.includes('--prebuild')) return ensure('native', { force: true });
  // It also leaves an addon without the functions for tests in build/Release.
  forget('native');
  return untilSignal((stop) => buildNative('prebuild', stop));
});
