import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { frameOf, GREETING, readyOf } from '../../../lib/vllm/zmtp-frames.js';

/** A raw connection to a side channel. */
export class RawPeer {
  received = Buffer.alloc(0);
  readonly closed: Promise<unknown>;

  private constructor(readonly socket: Socket) {
    socket.on('data', (data) => (this.received = Buffer.concat([this.received, data])));
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => socket.once('close', resolve));
  }

  static async connect(port: number): Promise<RawPeer> {
    const socket = connect({ host: '127.0.0.1', port });
    onTestFinished(() => void socket.destroy());
    const peer = new RawPeer(socket);
    await once(socket, 'connect');
    return peer;
  }

  /** A connection that has sent its greeting and READY as a socket of this type. */
  static async ready(port: number, type = 'REQ'): Promise<RawPeer> {
    const peer = await RawPeer.connect(port);
    peer.socket.write(Buffer.concat([GREETING, readyOf(type)]));
    return peer;
  }

  send(...parts: readonly (readonly number[] | Uint8Array)[]): void {
    this.socket.write(
      Buffer.concat(parts.map((part, index) => frameOf(Buffer.from(part), 'part', index + 1 < parts.length))),
    );
  }
}
