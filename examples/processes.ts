// What the examples share: programs in their own processes, temporary folders, and command-line errors.
import { type ChildProcess, fork } from 'node:child_process';
import { on, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A program in its own process, which sends messages to this one. */
export class ChildProgram {
  /** Resolves when the process has ended, with the reason: a signal or an exit code. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #messages: AsyncIterator<unknown[]>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#messages = on(child, 'message');
    this.ended = once(child, 'exit').then(([code, signal]) => signal ?? `code ${code}`);
  }

  /** Starts a TypeScript program. The child inherits the TypeScript loader of this process. */
  static start(program: URL, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProgram {
    return new ChildProgram(fork(fileURLToPath(program), args, { env: { ...env, ...process.env } }));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Returns the next message. Rejects if the process ends first. */
  async message<Message>(): Promise<Message> {
    const ended = this.ended.then((reason) => Promise.reject(new Error(`process ${this.pid} ended early (${reason})`)));
    const { value } = await Promise.race([this.#messages.next(), ended]);
    return value[0] as Message;
  }

  /** Stops the process and waits until it has ended. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.ended;
  }
}

/** In a child program: waits until the parent stops this process or ends. Keeps the process alive until then. */
export async function untilStopped(): Promise<void> {
  await Promise.race([once(process, 'SIGTERM'), once(process, 'disconnect')]);
  if (process.connected) process.disconnect();
}

/** Creates a folder that is removed when this process exits. */
export function temporaryFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Prints an error for the user and exits. */
export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
