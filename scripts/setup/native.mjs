import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { headersEnvironment, root, SetUpError } from './process.mjs';
import { Progress } from './progress.mjs';

const require = createRequire(import.meta.url);

const logFile = '.setup/native.log';
const tailLines = 40;

/** Lines of a `transient` kind stay out of the log. */
const states = [
  {
    line: /^\s*Building \[.*\] (\d+)\/(\d+): (.+)$/,
    say: ([, done, all, names]) => `${done}/${all} crates, ${names.split(/[,(]/)[0].trim()}`,
    transient: true,
  },
  { line: /^\s*Downloading \[.*\]/, say: () => 'downloading crates', transient: true },
  { line: /^\s*Downloaded (\S+)/, say: ([, name]) => `downloading ${name}` },
  {
    line: /^\[(\d+)\/(\d+)\] Building CXX object .*\/(\S+)\.o$/,
    say: ([, done, all, name]) => `C++ ${done}/${all}, ${name}`,
  },
  { line: /^\[\d+\/\d+\] Linking/, say: () => 'linking' },
];

/** The state of the build that a line of its output reports, if any, and whether the line stays out of the log. */
export function stateOf(line) {
  const state = states.find(({ line: pattern }) => pattern.test(line));
  return state && { text: state.say(state.line.exec(line)), transient: state.transient === true };
}

const commands = {
  build: () => [require.resolve('node-gyp/bin/node-gyp.js'), 'configure', 'build', '--release'],
  prebuild: () => [
    require.resolve('prebuildify/bin.js'),
    '--napi',
    '--strip',
    '--tag-libc',
    '--target',
    process.versions.node,
  ],
};

const environment = {
  // Cargo then reports its progress although its output is not a terminal.
  CARGO_TERM_PROGRESS_WHEN: 'always',
  CARGO_TERM_PROGRESS_WIDTH: '120',
  CARGO_TERM_COLOR: 'never',
};

/**
 * Builds the addon into build/Release (`build`), or into prebuilds/ as it is published (`prebuild`). A published addon
 * lacks the functions that only this project's tests and benches call.
 *
 * @param stop when it is aborted, its reason is sent to the build as a signal
 */
export async function buildNative(kind = 'build', stop = undefined) {
  mkdirSync(join(root, '.setup'), { recursive: true });
  const progress = new Progress('native build');
  const log = openSync(join(root, logFile), 'w');
  const tail = [];
  let rest = '';

  const onLine = (line) => {
    const state = stateOf(line);
    if (state) progress.text = state.text;
    if (state?.transient || line.trim() === '') return;
    writeSync(log, `${line}\n`);
    tail.push(line);
    if (tail.length > tailLines) tail.shift();
  };
  const onChunk = (chunk) => {
    const lines = (rest + chunk).split(/[\r\n]+/);
    rest = lines.pop();
    lines.forEach(onLine);
  };

  const status = await new Promise((resolve, reject) => {
    const child = spawn(process.execPath, commands[kind](), {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its own group, so that a signal reaches make and the compilers once, and none of them goes on.
      detached: true,
      env: {
        ...process.env,
        ...headersEnvironment(),
        ...environment,
        DYNAMO_TESTING: kind === 'prebuild' ? 'OFF' : 'ON',
      },
    });
    child.stdout.setEncoding('utf8').on('data', onChunk);
    child.stderr.setEncoding('utf8').on('data', onChunk);
    const pass = () => process.kill(-child.pid, stop.reason);
    stop?.addEventListener('abort', pass);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      stop?.removeEventListener('abort', pass);
      resolve(stop?.reason ?? signal ?? code);
    });
  });
  onLine(rest);
  closeSync(log);

  progress.end(status === 0 ? 'done' : 'failed');
  if (status !== 0)
    throw new SetUpError(`${tail.join('\n')}\nThe native build failed (${status}); the whole log is in ${logFile}.`);
}
