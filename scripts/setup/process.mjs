import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** A failure that the user can act on. Only its message is printed, without a stack. */
export class SetUpError extends Error {}

export const isRoot = process.getuid?.() === 0;

export function which(program) {
  return process.env.PATH.split(delimiter)
    .map((folder) => join(folder, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Puts a folder of rustup first, so that an older cargo of the distribution is not used. */
const addToPath = (folder) => {
  if (!process.env.PATH.split(delimiter).includes(folder)) process.env.PATH = folder + delimiter + process.env.PATH;
};

/** The Rust that the set-up installs on machines that have none. */
const ownFolder = join(homedir(), '.cache/dynamo-node/rust');
export const ownRust = {
  folder: ownFolder,
  CARGO_HOME: join(ownFolder, 'cargo'),
  RUSTUP_HOME: join(ownFolder, 'rustup'),
};

export function useOwnRust() {
  const { CARGO_HOME, RUSTUP_HOME } = ownRust;
  Object.assign(process.env, { CARGO_HOME, RUSTUP_HOME });
  addToPath(join(CARGO_HOME, 'bin'));
}

const cargoBin = join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'bin');
if (existsSync(cargoBin)) addToPath(cargoBin);
if (!which('rustup') && existsSync(join(ownRust.CARGO_HOME, 'bin/rustup'))) useOwnRust();

/** The trimmed standard output of a command, or undefined if it is missing or fails. */
export function outputOf(command, args, options = {}) {
  const { status, stdout } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    ...options,
  });
  return status === 0 ? stdout.trim() : undefined;
}

/**
 * Runs a command with its output on the terminal. When `stop` is aborted, its reason is sent to the command as a
 * signal, and the call still waits for the command's end.
 */
export async function run(command, args, { stop, ...options } = {}) {
  stop?.throwIfAborted();
  const child = spawn(command, args, { cwd: root, stdio: 'inherit', ...options });
  const pass = () => child.kill(stop.reason);
  stop?.addEventListener('abort', pass);
  try {
    await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) =>
        code === 0
          ? resolve()
          : reject(new SetUpError(`${command} ${args.join(' ')} failed (${signal ?? `exit code ${code}`})`)),
      );
    });
  } finally {
    stop?.removeEventListener('abort', pass);
  }
}

/** npm settings that make node-gyp use the headers installed with this Node.js, if any, without a download. */
export function headersEnvironment() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include/node/node_api.h')) ? { npm_config_nodedir: prefix } : {};
}
