import type { Duplex } from 'node:stream';

/** What a message between the engine and a rank is. */
export const RankMessage = {
  /** From a rank: it has loaded its weights. No payload. */
  ready: 0,
  /** To a rank, 32-bit words: position, number of tokens, the tokens, the blocks of the sequence. */
  forward: 1,
  /** To a rank: the id of a block as a word, and the floats of the rank's heads in it. */
  load: 2,
  /** In both directions, floats: what a layer adds to the hidden state, of one rank or of all. */
  sum: 3,
  /** From a rank, floats: the rows of the new tokens, keys and values of each layer in order. */
  rows: 4,
} as const;

export interface ReceivedMessage {
  readonly kind: number;
  readonly payload: ArrayBuffer;
}

const HEADER_BYTES = 8;

/** Messages over a stream: the kind and the size in bytes as words, then the payload. */
export class RankLink {
  /** Resolves when the other side has ended or the stream has failed. */
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #received: ReceivedMessage[] = [];
  readonly #waiting: { resolve(message: ReceivedMessage): void; reject(error: Error): void }[] = [];
  #unread: Buffer[] = [];
  #unreadBytes = 0;
  #error: Error | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    this.closed = new Promise((resolve) => {
      const end = (error?: Error): void => {
        this.fail(error ?? new Error('the other side has ended'));
        resolve();
      };
      stream
        .on('error', end)
        .on('end', () => end())
        .on('close', () => end());
    });
  }

  send(kind: number, payload: ArrayBufferView = new Uint8Array()): void {
    const message = Buffer.alloc(HEADER_BYTES + payload.byteLength);
    message.writeUInt32LE(kind, 0);
    message.writeUInt32LE(payload.byteLength, 4);
    message.set(new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength), HEADER_BYTES);
    this.#stream.write(message);
  }

  /** The next message. Rejects after the stream has ended. */
  receive(): Promise<ReceivedMessage> {
    const message = this.#received.shift();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#error !== undefined) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** The floats of the next message, which must be of this kind. */
  async receiveFloats(kind: number): Promise<Float32Array> {
    const message = await this.receive();
    if (message.kind !== kind) throw new Error(`expected a message of kind ${kind}, got one of kind ${message.kind}`);
    return new Float32Array(message.payload);
  }

  /** Rejects all present and later calls of `receive`. */
  fail(error: Error): void {
    this.#error ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#error);
  }

  /** Ends this side. The other side then ends too. */
  close(): void {
    this.#stream.end();
  }

  #read(chunk: Buffer): void {
    this.#unread.push(chunk);
    this.#unreadBytes += chunk.byteLength;
    while (this.#unreadBytes >= HEADER_BYTES) {
      const bytes = this.#unread.length === 1 ? (this.#unread[0] as Buffer) : Buffer.concat(this.#unread);
      this.#unread = [bytes];
      const size = bytes.readUInt32LE(4);
      if (bytes.byteLength < HEADER_BYTES + size) return;
      // A copy: floats need an aligned buffer.
      const payload = new ArrayBuffer(size);
      new Uint8Array(payload).set(bytes.subarray(HEADER_BYTES, HEADER_BYTES + size));
      this.#unread = [bytes.subarray(HEADER_BYTES + size)];
      this.#unreadBytes -= HEADER_BYTES + size;
      this.#deliver({ kind: bytes.readUInt32LE(0), payload });
    }
  }

  #deliver(message: ReceivedMessage): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#received.push(message);
    else waiting.resolve(message);
  }
}
