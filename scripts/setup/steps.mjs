import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepingFile, replacingFolder } from './keep.mjs';
import { buildNative } from './native.mjs';
import { pinnedInstall } from './pip.mjs';
import { outputOf, root, run } from './process.mjs';

const python = '.peers/bin/python';

/** Installs what a list pins into the Python environment of the checkout. */
async function pipInstall(list) {
  if (!outputOf(python, ['-m', 'pip', '--version'], { cwd: root })) {
    for (const step of ['peers', 'nixl']) rmSync(stampOf(step), { force: true });
    await run('python3', ['-m', 'venv', '--clear', '.peers']);
  }
  await run(python, pinnedInstall(list));
}

/**
 * A step runs if its output is missing or its inputs differ from those of its last success. A step with `otherwise` may
 * fail: that line is printed, and the step is tried again the next time.
 */
export const steps = {
  packages: {
    inputs: ['package-lock.json'],
    output: 'node_modules',
    run: () => run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']),
  },
  native: {
    inputs: ['native', 'binding.gyp'],
    output: 'build/Release/dynamo_node.node',
    run: () => keepingFile('build/Release/dynamo_node.node', (stop) => buildNative('build', stop)),
  },
  typescript: {
    inputs: ['lib', 'tsconfig.json', 'package-lock.json'],
    output: 'dist/index.js',
    run: () =>
      replacingFolder('dist', async (folder, stop) => {
        const compiler = join(root, 'node_modules/typescript/bin/tsc');
        const page = ['-p', 'lib/dashboard/page/browser', '--outDir', join(folder, 'dashboard')];
        await run(process.execPath, [compiler, '--outDir', folder], { stop });
        await run(process.execPath, [compiler, ...page], { stop });
      }),
  },
  peers: { inputs: ['scripts/peers.txt'], output: python, run: () => pipInstall('scripts/peers.txt') },
  nixl: {
    inputs: ['scripts/nixl.txt'],
    output: python,
    otherwise: 'the NIXL library could not be installed: tests and examples use its mock backend',
    run: () => pipInstall('scripts/nixl.txt'),
  },
};

const ignored = new Set(['target', 'node_modules']);

function* filesOf(path) {
  if (!statSync(join(root, path)).isDirectory()) return yield path;
  for (const name of readdirSync(join(root, path)).sort()) if (!ignored.has(name)) yield* filesOf(join(path, name));
}

function digest(inputs) {
  const hash = createHash('sha256');
  for (const file of inputs.flatMap((input) => [...filesOf(input)])) {
    hash.update(`${file}\0`).update(
      createHash('sha256')
        .update(readFileSync(join(root, file)))
        .digest(),
    );
  }
  return hash.digest('hex');
}

const stampOf = (name) => join(root, '.setup', name);

/** Makes a step run the next time, although its inputs did not change. */
export const forget = (name) => rmSync(stampOf(name), { force: true });

export function isDone(name) {
  const { inputs, output } = steps[name];
  return (
    existsSync(join(root, output)) &&
    existsSync(stampOf(name)) &&
    readFileSync(stampOf(name), 'utf8') === digest(inputs)
  );
}

/** Runs a step unless it is done. The digest is taken first: a file that changes during the step makes it run again. */
export async function ensure(name, { force = false } = {}) {
  if (!force && isDone(name)) return false;
  if (name !== 'native') console.log(`set-up: ${name}`);
  const inputs = digest(steps[name].inputs);
  rmSync(stampOf(name), { force: true });
  try {
    await steps[name].run();
  } catch (error) {
    if (!steps[name].otherwise) throw error;
    console.log(`set-up: ${steps[name].otherwise} (${error.message})`);
    return false;
  }
  mkdirSync(join(root, '.setup'), { recursive: true });
  writeFileSync(stampOf(name), inputs);
  return true;
}
