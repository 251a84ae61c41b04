import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { Child } from './child.js';
import { freePort } from './runtime/cluster.js';
import { waitFor } from './wait.js';

/** The path of a program, also in Debian's folders for servers. */
function find(program: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, program)).find((file) => existsSync(file));
}

/** Why a test that needs these servers cannot run here, or undefined if it can. */
export function serversMissing(...programs: ('etcd' | 'nats-server')[]): string | undefined {
  const missing = programs.filter((program) => find(program) === undefined);
  return missing.length === 0
    ? undefined
    : `not installed: ${missing.join(', ')} (node scripts/setup.mjs --test installs what is missing)`;
}

async function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** A server on loopback that may be stopped and started again with the same port and data. */
export class Server {
  readonly folder = mkdtempSync(join(tmpdir(), 'dynamo-server-'));
  #child: Child | undefined;

  private constructor(
    readonly port: number,
    private readonly program: 'etcd' | 'nats-server',
    private readonly args: (folder: string) => string[],
  ) {}

  static async etcd(): Promise<Server> {
    const [port, peerPort] = [await freePort(), await freePort()];
    const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`];
    const server = new Server(port, 'etcd', (folder) => [
      ...['--data-dir', folder, '--name', 'test', '--initial-cluster', `test=${peer}`],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--logger', 'zap', '--log-level', 'error'],
    ]);
    await server.start();
    return server;
  }

  /** `more`: arguments besides those for its address and its data. */
  static async nats(...more: string[]): Promise<Server> {
    const port = await freePort();
    const server = new Server(port, 'nats-server', (folder) => [
      '-a',
      '127.0.0.1',
      '-p',
      String(port),
      '-js',
      '-sd',
      folder,
      ...more,
    ]);
    await server.start();
    return server;
  }

  get url(): string {
    return `${this.program === 'etcd' ? 'http' : 'nats'}://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const child = Child.start(find(this.program) ?? this.program, this.args(this.folder));
    this.#child = child;
    await waitFor(
      `${this.program} on port ${this.port}`,
      async () => ({ accepts: await this.#isReady(), isRunning: child.isRunning, output: child.output }),
      (state) => state.accepts || !state.isRunning,
      60_000,
    );
    if (!child.isRunning) throw new Error(`${this.program} ended at its start: ${child.output}`);
  }

  async #isReady(): Promise<boolean> {
    if (this.program !== 'etcd') return accepts(this.port);
    return fetch(`${this.url}/health`).then(
      (response) => response.ok,
      () => false,
    );
  }

  /** Kills the process, as a failure of its machine would. The data remain. */
  async stop(): Promise<void> {
    await this.#child?.stop();
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
