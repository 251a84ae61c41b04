import { checkPlatform } from './platform.mjs';
import { SetUpError } from './process.mjs';
import { installRust, rustPackages } from './rust.mjs';
import { ensure } from './steps.mjs';
import { installPackages } from './system.mjs';
import { installComponents } from './tools.mjs';

const always = ['packages', 'native', 'typescript'];
const forTests = [...always, 'peers'];

/**
 * Sets a checkout up to run; with `test`, also to be tested and linted. Does only what is missing. With `yes` it does
 * not ask before it installs system packages.
 */
export async function setUp({ test = false, yes = false } = {}) {
  const start = Date.now();
  checkPlatform();
  await installPackages({ test, yes, later: rustPackages() });
  await installRust();
  if (test) await installComponents();
  let ran = 0;
  for (const step of [...(test ? forTests : always), 'nixl']) if (await ensure(step)) ran += 1;
  const seconds = ((Date.now() - start) / 1000).toFixed(1);
  console.log(`set-up: ${ran === 0 ? 'nothing to do' : 'done'} (${seconds} s)`);
}

/** Runs a script. A failure that the user can act on is printed without a stack. */
export async function main(work) {
  try {
    await work();
  } catch (error) {
    console.error(error instanceof SetUpError ? error.message : error);
    process.exit(1);
  }
}
