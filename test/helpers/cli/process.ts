import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Child, type ChildOptions } from '../child.js';
import { root } from '../project.js';
import { waitFor, within } from '../wait.js';

/** Under it, programs outside of this repository find its sources by their published names. */
const sources = { TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json') };

const main = ['--import', join(root, 'node_modules/tsx/dist/loader.mjs'), join(root, 'lib/cli/main.ts')];

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** Runs `dynamo` in a process of its own, from the sources. */
export const dynamo = (args: readonly string[], options: ChildOptions = {}): Child =>
  Child.start(process.execPath, [...main, ...args], { ...options, env: { ...sources, ...options.env } });

/** A command on a terminal. Its output is kept as it comes, because a terminal shows parts of lines too. */
export class Terminal {
  output = '';
  readonly exitCode: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(args: readonly string[], { env = {}, columns }: { env?: NodeJS.ProcessEnv; columns?: number } = {}) {
    const command = [process.execPath, ...main, ...args].map(quoted).join(' ');
    const sized = columns === undefined ? command : `stty cols ${columns}; ${command}`;
    this.#child = spawn('script', ['--quiet', '--return', '--flush', '--command', sized, '/dev/null'], {
      cwd: root,
      env: { ...process.env, ...sources, TERM: 'xterm', ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    this.exitCode = once(this.#child, 'close').then(([code]) => code as number | null);
  }

  /** Presses keys. `\x03` is Ctrl-C. */
  press(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  /** Waits until the output from a position on has this. */
  shows(what: string | RegExp, from = 0): Promise<string> {
    const has = (text: string) => (typeof what === 'string' ? text.includes(what) : what.test(text));
    return waitFor(`the terminal shows ${what}`, () => this.output.slice(from), has, 60_000);
  }

  exit(): Promise<number | null> {
    return within(60_000, 'the end of the command', this.exitCode, () => this.output);
  }

  /** Hangs up, which ends the command if it still runs. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.exitCode;
  }
}
