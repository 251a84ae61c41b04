// npm run test:vllm [-- ARGUMENTS OF VITEST]
// Tests dynamo-node/vllm against real vLLM on the CPU. The first run installs it: minutes, 7 GB, in a cache folder.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { main } from './setup/index.mjs';
import { pinnedInstall } from './setup/pip.mjs';
import { outputOf, root, run, SetUpError } from './setup/process.mjs';

/** Each with the versions of Python for which its list has wheels. */
const PYTHONS = ['3.11', '3.12'];
const listOf = (version) => join(root, `scripts/vllm/${version}.txt`);

const folder = join(homedir(), '.cache/dynamo-node/vllm');
const python = join(folder, 'venv/bin/python');
/** vLLM 0.31.0, for `python -m dynamo.vllm` of 1.6.1, which does not run with 0.32.0. */
const older = join(folder, 'vllm-0.31.0');

/** Runs a step unless it has already run with the same list. */
async function once(name, list, step) {
  const hash = createHash('sha256').update(readFileSync(list)).digest('hex');
  const marker = join(folder, `${name}.installed`);
  if (existsSync(marker) && readFileSync(marker, 'utf8') === hash) return;
  await step();
  writeFileSync(marker, hash);
}

async function install() {
  const version = outputOf('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])']);
  if (!PYTHONS.includes(version))
    throw new SetUpError(`vLLM needs Python ${PYTHONS.join(' or ')} as python3, got ${version ?? 'none'}`);
  mkdirSync(folder, { recursive: true });
  const polite = (...command) => run('nice', ['-n', '19', ...command]);
  await once('venv', listOf('0.32.0'), async () => {
    console.log(`vLLM is installed in ${folder}: this takes some minutes and 7 GB`);
    await run('python3', ['-m', 'venv', join(folder, 'venv')]);
    await polite(python, ...pinnedInstall(listOf('0.32.0')));
    // Without it, each start compiles every file.
    await polite(python, '-m', 'compileall', '-qq', '-j', '1', join(folder, 'venv/lib')).catch(() => {});
  });
  await once('older', listOf('0.31.0'), async () => {
    await polite(python, ...pinnedInstall(listOf('0.31.0')), '--target', older, '--upgrade');
    await polite(python, '-m', 'compileall', '-qq', '-j', '1', older).catch(() => {});
  });
}

await main(async () => {
  await install();
  const env = { ...process.env, DYNAMO_TEST_FOLDERS: 'vllm', VLLM_PYTHON: python, VLLM_OLDER: older };
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  await run(process.execPath, [vitest, 'run', '--no-file-parallelism', ...process.argv.slice(2)], { env });
});
