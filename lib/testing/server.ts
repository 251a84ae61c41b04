import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { removeAtExit } from './leftovers.js';
import { freePort } from './port.js';
import { TestProcess } from './process.js';
import { waitFor } from './wait.js';

/** The programs of the servers. Debian has them in `etcd-server` and `nats-server`. */
export type ServerProgram = 'etcd' | 'nats-server';

const START_MS = 60_000;

/** The path of a program, also in Debian's folders for servers. */
function find(program: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, program)).find((file) => existsSync(file));
}

/** Those of the programs that this machine does not have. */
export function missingServers(...programs: readonly ServerProgram[]): ServerProgram[] {
  return programs.filter((program) => find(program) === undefined);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** A real etcd or NATS server on a free port of loopback. It can be stopped and started with the same port and data. */
export class TestServer implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'dynamo-server-'));
  readonly #forget = removeAtExit(() => this.#remove());
  readonly #program: ServerProgram;
  readonly #args: (folder: string) => string[];
  #process: TestProcess | undefined;

  private constructor(
    readonly port: number,
    program: ServerProgram,
    args: (folder: string) => string[],
  ) {
    this.#program = program;
    this.#args = args;
  }

  /** @throws Error if etcd is not installed, or with its output if it does not start */
  static async etcd(): Promise<TestServer> {
    const [port, peerPort] = [await freePort(), await freePort()];
    const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`];
    return TestServer.#started(port, 'etcd', (folder) => [
      ...['--data-dir', folder, '--name', 'test', '--initial-cluster', `test=${peer}`],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--logger', 'zap', '--log-level', 'error'],
    ]);
  }

  /**
   * @param more arguments besides those for its address and its data
   * @throws Error if nats-server is not installed, or with its output if it does not start
   */
  static async nats(...more: readonly string[]): Promise<TestServer> {
    const port = await freePort();
    const address = ['-a', '127.0.0.1', '-p', String(port)];
    return TestServer.#started(port, 'nats-server', (folder) => [...address, '-js', '-sd', folder, ...more]);
  }

  static async #started(port: number, program: ServerProgram, args: (folder: string) => string[]): Promise<TestServer> {
    const [missing] = missingServers(program);
    if (missing !== undefined) throw new Error(`${missing} is not installed`);
    const server = new TestServer(port, program, args);
    try {
      await server.start();
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** For `ETCD_ENDPOINTS` or `NATS_SERVER`. */
  get url(): string {
    return `${this.#program === 'etcd' ? 'http' : 'nats'}://127.0.0.1:${this.port}`;
  }

  /** Starts it again after a `stop`, and waits until it accepts requests. */
  async start(): Promise<void> {
    const child = TestProcess.start(find(this.#program) ?? this.#program, this.#args(this.#folder));
    this.#process = child;
    await waitFor(
      `${this.#program} on port ${this.port}`,
      async () => ({ isReady: await this.#isReady(), isRunning: child.isRunning, output: child.output }),
      ({ isReady, isRunning }) => isReady || !isRunning,
      START_MS,
    );
    if (!child.isRunning) throw new Error(`${this.#program} ended at its start: ${child.output}`);
  }

  /** Stops its process without an end of its connections, as a hung machine would, until `resume`. */
  pause(): void {
    this.#process?.pause();
  }

  /** Ends a `pause`. */
  resume(): void {
    this.#process?.resume();
  }

  /** Kills its process, as a lost machine would. Its data remain. */
  async stop(): Promise<void> {
    await this.#process?.close();
  }

  /** Kills its process and removes its data. Idempotent. */
  async close(): Promise<void> {
    await this.stop();
    this.#remove();
    this.#forget();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #isReady(): Promise<boolean> {
    if (this.#program !== 'etcd') return accepts(this.port);
    return fetch(`${this.url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  }
}
