import { checkPlatform } from './platform.mjs';
import { SetUpError } from './process.mjs';
import { installRust } from './rust.mjs';
import { ensure } from './steps.mjs';
import { installPackages } from './system.mjs';

const always = ['packages', 'native', 'typescript'];
const forTests = [...always, 'peers'];

/** Brings a checkout to the state in which it runs; with `test`, in which its tests run. Does nothing that is done already. */
export async function setUp({ test = false } = {}) {
  const start = Date.now();
  checkPlatform();
  await installPackages({ test });
  await installRust();
  let ran = 0;
  for (const step of [...(test ? forTests : always), 'nixl']) if (await ensure(step)) ran += 1;
  const seconds = ((Date.now() - start) / 1000).toFixed(1);
  console.log(`set-up: ${ran === 0 ? 'nothing to do' : 'done'} (${seconds} s)`);
}

/** The way a script runs: what the person can act on is printed without a stack. */
export async function main(work) {
  try {
    await work();
  } catch (error) {
    console.error(error instanceof SetUpError ? error.message : error);
    process.exit(1);
  }
}
