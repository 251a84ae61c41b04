import { constants, copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { root } from './process.mjs';

const signals = ['SIGINT', 'SIGTERM'];

/**
 * Runs work that replaces a file of the checkout. If it fails, or a signal ends it, the file is as it was before.
 *
 * @param output the path of the file
 * @param work gets an AbortSignal whose reason is the name of the signal. It must then end its processes.
 */
export async function keepingFile(output, work) {
  const path = join(root, output);
  const kept = join(root, '.setup', `${basename(output)}.before`);
  mkdirSync(dirname(kept), { recursive: true });
  // An earlier run that was killed has left it. What that run made may be incomplete.
  if (existsSync(kept)) renameBack(kept, path);
  if (existsSync(path)) {
    copyFileSync(path, `${kept}.new`, constants.COPYFILE_FICLONE);
    renameSync(`${kept}.new`, kept);
  }
  await untilSignal(
    (signal) => work(signal),
    () => rmSync(kept, { force: true }),
    () => (existsSync(kept) ? renameBack(kept, path) : rmSync(path, { force: true })),
  );
}

function renameBack(kept, path) {
  mkdirSync(dirname(path), { recursive: true });
  renameSync(kept, path);
}

/**
 * Runs work that makes a folder again from its sources. The present folder stays until the work has succeeded.
 *
 * @param work gets the path of the new folder, and a signal as for `keepingFile`
 */
export async function replacingFolder(output, work) {
  const [path, made] = [join(root, output), join(root, `${output}.new`)];
  rmSync(made, { recursive: true, force: true });
  await untilSignal(
    (signal) => work(made, signal),
    () => {
      rmSync(path, { recursive: true, force: true });
      renameSync(made, path);
    },
    () => rmSync(made, { recursive: true, force: true }),
  );
}

/**
 * Lets work end by itself after a signal, so that none of its processes writes later. Then the signal has its effect.
 */
export async function untilSignal(work, accept = () => {}, restore = () => {}) {
  const controller = new AbortController();
  const { signal } = controller;
  const handlers = signals.map((name) => [name, () => controller.abort(name)]);
  for (const [name, handler] of handlers) process.on(name, handler);
  try {
    await work(signal);
    signal.throwIfAborted();
    accept();
  } catch (error) {
    restore();
    throw error;
  } finally {
    for (const [name, handler] of handlers) process.off(name, handler);
    if (signal.aborted) process.kill(process.pid, signal.reason);
  }
}
