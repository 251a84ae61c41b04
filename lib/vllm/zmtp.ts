import { connect, type Socket } from 'node:net';
import {
  checkGreeting,
  commandFrom,
  commandOf,
  type Frame,
  frameFrom,
  frameSize,
  GREETING,
  GREETING_BYTES,
  messageOf,
  readyOf,
  socketTypeFrom,
  ZmtpError,
} from './zmtp-frames.js';

/** Socket types of this package, each with those that it talks to. */
const PARTNERS = {
  REQ: ['REP', 'ROUTER'],
  ROUTER: ['REQ', 'DEALER', 'ROUTER'],
  SUB: ['PUB', 'XPUB'],
} as const;

export type SocketType = keyof typeof PARTNERS;

/** The longest context of a PING command. */
const MAX_CONTEXT_BYTES = 16;

/** Limits of one connection. */
export interface ZmtpLimits {
  /** The most bytes of a message, and of a frame. */
  readonly maxMessageBytes: number;
  /** The most frames of a message. */
  readonly maxParts: number;
}

/** What a connection reports. After `onFault` or `onClose` nothing follows. */
export interface ZmtpEvents {
  /** The handshake is complete. */
  onReady(): void;
  onMessage(parts: readonly Buffer[]): void;
  /** The other end violated the protocol or a limit. The socket is destroyed. */
  onFault(error: ZmtpError): void;
  onClose(error?: Error): void;
}

/** A ZMTP connection over a socket, with the mechanism NULL. It keeps at most one message in memory. */
export class ZmtpConnection {
  #chunks: Buffer[] = [];
  #buffered = 0;
  #state: 'greeting' | 'handshake' | 'ready' | 'closed' = 'greeting';
  #parts: Buffer[] = [];
  #partBytes = 0;

  constructor(
    private readonly socket: Socket,
    private readonly type: SocketType,
    private readonly limits: ZmtpLimits,
    private readonly events: ZmtpEvents,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (data) => this.#receive(data));
    socket.on('error', (error) => this.#closed(error));
    socket.on('close', () => this.#closed());
    socket.write(Buffer.concat([GREETING, readyOf(type)]));
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  /** Sends a message. Does nothing after the end of the connection. */
  send(parts: readonly Uint8Array[]): void {
    if (this.#state !== 'closed') this.socket.write(messageOf(parts));
  }

  /** Ends the connection after what was sent. */
  end(): void {
    this.#state = 'closed';
    this.socket.end();
  }

  destroy(): void {
    this.#state = 'closed';
    this.socket.destroy();
  }

  #closed(error?: Error): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.events.onClose(error);
  }

  #receive(data: Buffer): void {
    if (this.#state === 'closed') return;
    this.#chunks.push(data);
    this.#buffered += data.length;
    try {
      while (this.#step());
    } catch (error) {
      this.destroy();
      if (!(error instanceof ZmtpError)) throw error;
      this.events.onFault(error);
    }
  }

  /** Handles the next part of the input. Returns whether it was complete. */
  #step(): boolean {
    // A handler of a message may have closed the connection.
    if (this.#isOver()) return false;
    if (this.#state === 'greeting') {
      const bytes = this.#peek(Math.min(this.#buffered, GREETING_BYTES));
      checkGreeting(bytes);
      if (bytes.length < GREETING_BYTES) return false;
      this.#take(GREETING_BYTES);
      this.#state = 'handshake';
      return true;
    }
    const size = frameSize(this.#peek(Math.min(this.#buffered, 9)), this.limits.maxMessageBytes);
    if (size === undefined || this.#buffered < size.header + size.body) return false;
    const bytes = this.#take(size.header + size.body);
    const frame = frameFrom(bytes[0] as number, bytes.subarray(size.header));
    if (frame.kind === 'command') this.#command(frame.body);
    else this.#part(frame);
    return true;
  }

  #isOver(): boolean {
    return this.#state === 'closed';
  }

  #command(body: Buffer): void {
    const { name, data } = commandFrom(body);
    if (name === 'ERROR') throw new ZmtpError('peer', `the other end refuses: ${data.toString('latin1', 1)}`);
    if (this.#state === 'handshake') {
      if (name !== 'READY') throw new ZmtpError('handshake', `expected READY, got the command ${name}`);
      const type = socketTypeFrom(data);
      const partners: readonly string[] = PARTNERS[this.type];
      if (!partners.includes(type))
        throw new ZmtpError('socket-type', `expected a socket of type ${partners.join(' or ')}, got ${type}`);
      this.#state = 'ready';
      this.events.onReady();
    } else if (name === 'PING') {
      // Two bytes are the time to live.
      const context = data.subarray(2);
      if (context.length > MAX_CONTEXT_BYTES) throw new ZmtpError('frame', 'the context of a PING is too long');
      this.socket.write(commandOf('PONG', context));
    } else if (name === 'READY') {
      throw new ZmtpError('frame', 'a second READY');
    }
  }

  #part({ body, hasMore }: Frame): void {
    if (this.#state === 'handshake') throw new ZmtpError('handshake', 'expected READY, got a message');
    const { maxParts, maxMessageBytes } = this.limits;
    this.#parts.push(body);
    this.#partBytes += body.length;
    if (this.#parts.length > maxParts)
      throw new ZmtpError('too-many-parts', `expected at most ${maxParts} frames in a message, got more`);
    if (this.#partBytes > maxMessageBytes)
      throw new ZmtpError('too-large', `expected a message of at most ${maxMessageBytes} bytes, got more`);
    if (hasMore) return;
    const parts = this.#parts;
    this.#parts = [];
    this.#partBytes = 0;
    this.events.onMessage(parts);
  }

  /** The first bytes of the input, which stay there. */
  #peek(count: number): Buffer {
    const [first] = this.#chunks;
    if (first === undefined) return Buffer.alloc(0);
    return first.length >= count ? first.subarray(0, count) : this.#join().subarray(0, count);
  }

  #take(count: number): Buffer {
    const all = this.#join();
    this.#chunks = count === all.length ? [] : [all.subarray(count)];
    this.#buffered -= count;
    return all.subarray(0, count);
  }

  #join(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] as Buffer;
  }
}

/** Where a socket listens. */
export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

export const addressText = ({ host, port }: SocketAddress): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/** Opens a connection to a socket that listens. */
export function connectZmtp(
  address: SocketAddress,
  type: SocketType,
  limits: ZmtpLimits,
  events: ZmtpEvents,
): ZmtpConnection {
  return new ZmtpConnection(connect(address), type, limits, events);
}
