import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import type { Command, CommandIo } from '../../../lib/cli/command.js';
import { COMMANDS, GROUPS } from '../../../lib/cli/commands.js';
import { runProgram } from '../../../lib/cli/program.js';
import { root } from '../project.js';

export interface CommandOptions {
  /** The whole standard input. @default the test writes to `stdin` of the running command */
  readonly input?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly isTerminal?: boolean;
  readonly columns?: number;
  /** @default the commands of the package */
  readonly commands?: readonly Command[];
}

/** A command that runs in this process. */
export class RunningCommand {
  stdout = '';
  stderr = '';
  readonly stdin = new PassThrough();
  readonly exitCode: Promise<number>;
  readonly #signals = new EventEmitter();

  constructor(args: readonly string[], options: CommandOptions) {
    const { input, cwd = root, env = {}, isTerminal = false, columns = 80, commands = COMMANDS } = options;
    if (input !== undefined) this.stdin.end(input);
    const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
    for (const name of ['stdout', 'stderr'] as const)
      streams[name].setEncoding('utf8').on('data', (text: string) => (this[name] += text));
    const onSignal: CommandIo['onSignal'] = (signal, handler) => {
      this.#signals.on(signal, handler);
      return () => this.#signals.off(signal, handler);
    };
    const io: CommandIo = { stdin: this.stdin, ...streams, env, cwd, isTerminal, columns, onSignal };
    this.exitCode = runProgram(args, io, commands, GROUPS).then(async (code) => {
      await new Promise((resolve) => setImmediate(resolve));
      return code;
    });
  }

  /** Sends a signal. Fails if the command has no handler, which would end a process. */
  signal(name: 'SIGINT' | 'SIGTERM'): void {
    if (!this.#signals.emit(name)) throw new Error(`no handler of ${name}; the output is ${this.stdout}${this.stderr}`);
  }

  get json(): unknown {
    return JSON.parse(this.stdout);
  }
}

/** Starts a command in this process. */
export const startCommand = (args: readonly string[], options: CommandOptions = {}): RunningCommand =>
  new RunningCommand(args, options);

/** Runs a command in this process until it ends. */
export async function runCommand(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = startCommand(args, options);
  const code = await command.exitCode;
  return { code, stdout: command.stdout, stderr: command.stderr };
}
