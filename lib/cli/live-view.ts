import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { programCommand } from '../deploy/local/program-command.js';

/** How the live view of a graph is started. */
export interface LiveViewOptions {
  /** The name of the run. */
  readonly graph: string;
  /** The port of the page; 0 for any free one. */
  readonly port: number;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** The words before its command that end it with this process. */
  readonly prefix: readonly string[];
  /** Takes what happens to it, in words. */
  readonly note: (message: string) => void;
}

const END_MS = 2000;

/** `dynamo ui` beside a graph, in its own process: whatever happens to the view, the graph goes on. */
export class LiveView {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #isClosing = false;

  constructor({ graph, port, cwd, env, prefix, note }: LiveViewOptions) {
    const [program, ...words] = [...prefix, ...programCommand(import.meta.url, 'main')];
    // In its own session, so that Ctrl-C reaches only the graph, whose drain the page shows.
    this.#child = spawn(program as string, [...words, 'ui', graph, '--port', String(port), '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      cwd,
      env,
    });
    const { stdout, stderr } = this.#child;
    if (stdout !== null)
      createInterface({ input: stdout }).on('line', (line) => note(`live view at ${fieldOf(line, 'url')}`));
    if (stderr !== null)
      createInterface({ input: stderr }).on('line', (line) => note(`live view: ${fieldOf(line, 'message')}`));
    this.#ended = new Promise((resolve) => {
      this.#child.on('error', (error) => note(`live view: ${error.message}`));
      this.#child.on('close', (code, signal) => {
        if (!this.#isClosing) note(`the live view has ended (${signal ?? `code ${code}`}); the graph goes on`);
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.#ended;
    clearTimeout(timer);
  }
}

/** A field of what was written as JSON; the line itself if it is none, such as a warning of Node.js. */
function fieldOf(line: string, name: string): string {
  try {
    return String((JSON.parse(line) as Record<string, unknown>)[name] ?? line);
  } catch {
    return line;
  }
}
