import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

import { onTestFinished } from 'vitest';

import { pack, unpack } from '../../../lib/addon/codec.js';
import { waitFor } from '../wait.js';

/** One frame of a response connection: two lengths and a checksum of 8 bytes each, then a header and data. */
export interface Frame {
  readonly header: string;
  readonly data: Buffer;
}

const FRAME_HEAD = 24;

export function frames(bytes: Buffer): { frames: Frame[]; rest: Buffer } {
  const found: Frame[] = [];
  for (;;) {
    if (bytes.length < FRAME_HEAD) return { frames: found, rest: bytes };
    const [header, data] = [Number(bytes.readBigUInt64BE(0)), Number(bytes.readBigUInt64BE(8))];
    const end = FRAME_HEAD + header + data;
    if (bytes.length < end) return { frames: found, rest: bytes };
    found.push({
      header: bytes.toString('utf8', FRAME_HEAD, FRAME_HEAD + header),
      data: bytes.subarray(FRAME_HEAD + header, end),
    });
    bytes = bytes.subarray(end);
  }
}

export function frame(header: string, data: Uint8Array): Buffer {
  const head = Buffer.alloc(FRAME_HEAD);
  const text = Buffer.from(header);
  head.writeBigUInt64BE(BigInt(text.length), 0);
  head.writeBigUInt64BE(BigInt(data.length), 8);
  return Buffer.concat([head, text, data]);
}

/** Connects to the instance of an address. */
export function connectTo(address: string): Socket {
  const [host = '', port = ''] = (address.split('/')[0] as string).split(':');
  return connect(Number(port), host);
}

export interface RawRequest {
  readonly codec?: 'msgpack' | 'json';
  readonly metadata?: Readonly<Record<string, string>>;
  /** The bytes of the request, in place of a value. */
  readonly packed?: Uint8Array;
}

/** A request as the worker reads it. The answer goes to a port of this host. */
export function requestBytes(
  address: string,
  answers: number,
  payload: Uint8Array,
  codec: 'msgpack' | 'json' = 'msgpack',
  metadata: Readonly<Record<string, string>> = {},
): Buffer {
  const path = address.slice(address.indexOf('/') + 1);
  const id = randomUUID();
  const info = { address: `127.0.0.1:${answers}`, subject: randomUUID(), context: id, stream_type: 'response' };
  const control = {
    id,
    request_type: 'single_in',
    response_type: 'many_out',
    payload_codec: codec,
    metadata,
    connection_info: { transport: 'tcp_server', info: JSON.stringify(info) },
  };
  const data = frame(JSON.stringify(control), payload);
  const [endpoint, headers] = [Buffer.from(path), Buffer.from('{}')];
  const lengths = [Buffer.alloc(2), Buffer.alloc(2), Buffer.alloc(4)] as const;
  lengths[0].writeUInt16BE(endpoint.length);
  lengths[1].writeUInt16BE(headers.length);
  lengths[2].writeUInt32BE(data.length);
  return Buffer.concat([lengths[0], endpoint, lengths[1], headers, lengths[2], data]);
}

/**
 * A caller made of sockets, for what no client of the crates does. It listens for the response connections of its
 * requests. `react` gets each frame with its number in the connection: 0 is the worker's handshake, 1 says that the
 * request is accepted.
 */
export class RawCaller {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(react: (frame: Frame, number: number, socket: Socket) => void): Promise<RawCaller> {
    const server = createServer();
    const caller = new RawCaller(server);
    server.on('connection', (socket) => {
      caller.#sockets.add(socket);
      let [rest, number]: [Buffer, number] = [Buffer.alloc(0), 0];
      socket
        .on('error', () => {})
        .on('close', () => caller.#sockets.delete(socket))
        .on('data', (chunk: Buffer) => {
          const found = frames(Buffer.concat([rest, chunk]));
          rest = found.rest;
          for (const one of found.frames) react(one, number++, socket);
        });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return caller;
  }

  /** `address`: that of an instance, `host:port/path`. Resolves when the worker has acknowledged the request. */
  async send(address: string, request: unknown, options: RawRequest = {}): Promise<void> {
    const { codec = 'msgpack', metadata = {}, packed } = options;
    const { port } = this.#server.address() as AddressInfo;
    const socket = connectTo(address);
    this.#sockets.add(socket);
    const payload = packed ?? (codec === 'json' ? Buffer.from(JSON.stringify(request)) : pack(request));
    socket.write(requestBytes(address, port, payload, codec, metadata));
    await once(socket, 'data');
    socket.destroy();
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

/** One frame of an answer. */
export interface Answer {
  readonly data?: { readonly data?: unknown; readonly error?: unknown };
  readonly complete_final: boolean;
}

/** The frames of the answer to a request of a raw caller, until the last one. */
export async function answersTo(address: string, request: unknown, options: RawRequest = {}): Promise<Answer[]> {
  const frames: Frame[] = [];
  const caller = await RawCaller.listen((frame) => frames.push(frame));
  onTestFinished(() => caller.close());
  await caller.send(address, request, options);
  const decode = ({ data }: Frame): Answer =>
    (options.codec === 'json' ? JSON.parse(data.toString()) : unpack(data)) as Answer;
  return waitFor(
    'the last frame of the answer',
    () => frames.filter(({ header, data }) => header === '' && data.length > 0).map(decode),
    (answers) => answers.at(-1)?.complete_final === true,
  );
}
