import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { checkInteger, checkString, wrongType } from '../check.js';

const MAX_DELAY_MS = 600_000;

/** `HOST:PORT`, alone or in a URL. */
function addressOf(path: string, to: string): { readonly host: string; readonly port: number } {
  checkString(path, to);
  const url = to.includes('://') ? to : `tcp://${to}`;
  const { hostname, port } = URL.canParse(url) ? new URL(url) : { hostname: '', port: '' };
  if (hostname === '' || port === '') wrongType(path, 'HOST:PORT, or a URL with a port', to);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
}

/**
 * A connection between two parts of a test that can be made slow, held or cut: a TCP proxy on a free port of loopback.
 * One part uses `address` instead of the address of the other.
 */
export class TestLink implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** The port on loopback. */
  readonly port: number;
  #delayMs = 0;
  #isCut = false;
  #held: { readonly over: Promise<void>; readonly end: () => void } | undefined;

  private constructor(
    server: Server,
    /** The address that it leads to. */
    readonly to: string,
  ) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /**
   * @param to `HOST:PORT`, or a URL with a port, such as that of a `TestServer`
   * @throws TypeError for another form
   */
  static async start(to: string): Promise<TestLink> {
    const { host, port } = addressOf('TestLink.start to', to);
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    const link = new TestLink(server, to);
    server.on('connection', (socket) => link.#join(socket, host, port));
    return link;
  }

  /** `to` with the host and the port of the link. */
  get address(): string {
    const address = `127.0.0.1:${this.port}`;
    return this.to.includes('://') ? this.to.replace(/(?<=:\/\/)[^/]+/, address) : address;
  }

  /** The connections through it that are open. */
  get connections(): number {
    return this.#sockets.size / 2;
  }

  /**
   * Delays each piece of data, in both directions. The pieces of one direction follow one another.
   *
   * @param delayMs 0 for no delay
   */
  slow(delayMs: number): void {
    checkInteger('TestLink.slow delayMs', delayMs, 0, MAX_DELAY_MS);
    this.#delayMs = delayMs;
  }

  /** Transports nothing, while connections stay open, until `restore`. Nothing is lost. */
  hold(): void {
    if (this.#held !== undefined) return;
    let end = (): void => {};
    const over = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#held = { over, end };
  }

  /** Resets all connections, and every new one, until `restore`. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Ends all faults. */
  restore(): void {
    this.#isCut = false;
    this.#delayMs = 0;
    this.#held?.end();
    this.#held = undefined;
  }

  /** Closes all connections. Idempotent. */
  async close(): Promise<void> {
    this.restore();
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #join(near: Socket, host: string, port: number): void {
    if (this.#isCut) return void near.resetAndDestroy();
    const far = connect({ host, port, noDelay: true, allowHalfOpen: true });
    near.setNoDelay(true);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => {});
      from.once('close', (hadError) => {
        this.#sockets.delete(from);
        if (hadError) to.resetAndDestroy();
        else to.end();
      });
      void this.#copy(from, to);
    }
  }

  async #copy(from: Socket, to: Socket): Promise<void> {
    try {
      for await (const chunk of from.iterator({ destroyOnReturn: false })) {
        if (this.#delayMs > 0) await after(this.#delayMs);
        await this.#held?.over;
        if (!to.write(chunk as Buffer))
          await new Promise((resolve) => to.once('drain', resolve).once('close', resolve));
      }
      to.end();
    } catch {
      // One side was reset: its `close` ends the other.
    }
  }
}
