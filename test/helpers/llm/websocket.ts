import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import type { Socket } from 'node:net';

const TEXT = 1;
const CLOSE = 8;

/** A minimal WebSocket client: sends and receives text, and reports the close code. */
export class WebSocketClient {
  readonly messages: string[] = [];
  /** Resolves with the code of the server's close frame, or undefined if the connection ended without one. */
  readonly closed: Promise<number | undefined>;
  readonly #socket: Socket;
  #unread: Buffer;

  private constructor(socket: Socket, head: Buffer) {
    this.#socket = socket;
    this.#unread = head;
    this.closed = new Promise((resolve) => {
      const read = (chunk: Buffer): void => {
        this.#unread = Buffer.concat([this.#unread, chunk]);
        for (let frame = this.#frame(); frame !== undefined; frame = this.#frame()) {
          if (frame.opcode === TEXT) this.messages.push(frame.payload.toString());
          if (frame.opcode === CLOSE) resolve(frame.payload.length < 2 ? undefined : frame.payload.readUInt16BE(0));
        }
      };
      read(Buffer.alloc(0));
      socket
        .on('data', read)
        .on('error', () => {})
        .on('close', () => resolve(undefined));
    });
  }

  static connect(url: string): Promise<WebSocketClient> {
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
    };
    return new Promise((resolve, reject) => {
      request(url, { headers })
        .on('upgrade', (_response, socket, head) => resolve(new WebSocketClient(socket as Socket, head)))
        .on('response', ({ statusCode }) => reject(new Error(`no WebSocket: ${statusCode}`)))
        .on('error', reject)
        .end();
    });
  }

  send(text: string): void {
    this.#write(TEXT, Buffer.from(text));
  }

  close(): void {
    const code = Buffer.alloc(2);
    code.writeUInt16BE(1000);
    this.#write(CLOSE, code);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #write(opcode: number, payload: Buffer): void {
    const mask = randomBytes(4);
    const masked = payload.map((byte, index) => byte ^ (mask[index % 4] as number));
    const length =
      payload.length < 126
        ? Buffer.of(0x80 | payload.length)
        : Buffer.of(0x80 | 126, payload.length >> 8, payload.length & 255);
    this.#socket.write(Buffer.concat([Buffer.of(0x80 | opcode), length, mask, masked]));
  }

  /** The next complete frame, if it has arrived. Servers do not mask frames. */
  #frame(): { opcode: number; payload: Buffer } | undefined {
    const bytes = this.#unread;
    if (bytes.length < 2) return undefined;
    const short = (bytes[1] as number) & 127;
    const start = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < start) return undefined;
    const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < start + length) return undefined;
    this.#unread = bytes.subarray(start + length);
    return { opcode: (bytes[0] as number) & 15, payload: bytes.subarray(start, start + length) };
  }
}
