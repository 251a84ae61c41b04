import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

import { waitFor } from '../wait.js';
import { type Frame, frame, frames } from './raw-caller.js';

/** What went over the wire for one request. */
export interface Recorded {
  /** The names of the headers of the request, and the values that do not differ between equal requests. */
  readonly headers: Readonly<Record<string, string>>;
  /** The control message without the address and the subject of the response. */
  readonly control: unknown;
  readonly payload: Buffer;
  /** The frames of the response connection. The first names the subject, which is removed. */
  readonly toCaller: Frame[];
  readonly toWorker: Frame[];
}

interface Home {
  readonly port: number;
  readonly recorded: Recorded;
}

/** Headers whose values differ between equal requests, or between instances. */
const OTHER_EACH_TIME = ['x-frontend-send-ts-ns', 'x-endpoint-path', 'traceparent'];

/**
 * A proxy in front of the only worker of a discovery folder. It records the frames of its requests and of their
 * responses, and changes nothing but the address at which the caller awaits a response.
 */
export class Tap {
  readonly #requests: Server;
  readonly #responses: Server;
  readonly #sockets = new Set<Socket>();
  readonly #homes = new Map<string, Home>();
  /** By the id of the request. */
  readonly recorded = new Map<string, Recorded>();

  private constructor(worker: number) {
    this.#requests = createServer({ allowHalfOpen: true }, (near) => this.#request(near, worker));
    this.#responses = createServer({ allowHalfOpen: true }, (near) => this.#response(near));
  }

  /** Clients that are made later call the worker through the tap. */
  static async before(dir: string): Promise<Tap> {
    const folder = join(dir, 'v1', 'instances');
    const names = (): string[] =>
      existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith('.')) : [];
    const [name] = await waitFor('the instance', names, ({ length }) => length === 1);
    const path = join(folder, name as string);
    const instance = readFileSync(path, 'utf8');
    const tap = new Tap(Number(/127\.0\.0\.1:(\d+)/.exec(instance)?.[1]));
    for (const server of [tap.#requests, tap.#responses]) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    writeFileSync(path, instance.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${portOf(tap.#requests)}`));
    return tap;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
  }

  #request(near: Socket, worker: number): void {
    const far = connect({ port: worker, host: '127.0.0.1', allowHalfOpen: true });
    far.setNoDelay(true);
    near.setNoDelay(true);
    for (const socket of [near, far]) this.#keep(socket);
    far.pipe(near);
    let rest: Buffer = Buffer.alloc(0);
    near.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (let length = requestLength(rest); length !== undefined; length = requestLength(rest)) {
        far.write(this.#redirected(rest.subarray(0, length)));
        rest = rest.subarray(length);
      }
    });
    near.on('end', () => far.end()).on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  }

  /** The request with the address of the tap for its response. */
  #redirected(bytes: Buffer): Buffer {
    const pathEnd = 2 + bytes.readUInt16BE(0);
    const headersEnd = pathEnd + 2 + bytes.readUInt16BE(pathEnd);
    const headers = JSON.parse(bytes.toString('utf8', pathEnd + 2, headersEnd)) as Record<string, string>;
    const envelope = frames(bytes.subarray(headersEnd + 4)).frames[0] as Frame;
    const control = JSON.parse(envelope.header) as { id: string; connection_info: { info: string } };
    const info = JSON.parse(control.connection_info.info) as { address: string; subject: string };
    const recorded: Recorded = {
      headers: Object.fromEntries(
        Object.entries(headers)
          .sort()
          .map(([name, value]) => [name, OTHER_EACH_TIME.includes(name) ? 'one' : value]),
      ),
      control: { ...control, connection_info: { ...control.connection_info, info: Object.keys(info) } },
      payload: Buffer.from(envelope.data),
      toCaller: [],
      toWorker: [],
    };
    this.recorded.set(control.id, recorded);
    this.#homes.set(info.subject, { port: Number(info.address.split(':')[1]), recorded });
    control.connection_info.info = JSON.stringify({ ...info, address: `127.0.0.1:${portOf(this.#responses)}` });
    const changed = frame(JSON.stringify(control), envelope.data);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(changed.length);
    return Buffer.concat([bytes.subarray(0, headersEnd), size, changed]);
  }

  #response(near: Socket): void {
    this.#keep(near);
    near.setNoDelay(true);
    const seen: Buffer[] = [];
    const greet = (chunk: Buffer): void => {
      seen.push(chunk);
      const first = frames(Buffer.concat(seen)).frames[0];
      if (first === undefined) return;
      near.off('data', greet);
      const { subject } = JSON.parse(first.header) as { subject: string };
      const home = this.#homes.get(subject);
      if (home === undefined) return void near.destroy();
      const far = connect({ port: home.port, host: '127.0.0.1', allowHalfOpen: true });
      far.setNoDelay(true);
      this.#keep(far);
      const toCaller = recorder(home.recorded.toCaller, subject);
      for (const early of seen) toCaller(early);
      far.write(Buffer.concat(seen));
      near.on('data', toCaller).pipe(far);
      far.on('data', recorder(home.recorded.toWorker, subject)).pipe(near);
      near.on('close', () => far.destroy());
      far.on('close', () => near.destroy());
    };
    near.on('data', greet);
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#requests.close();
    this.#responses.close();
  }
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** The length of the request at the start of `bytes`, if all of it is there. */
function requestLength(bytes: Buffer): number | undefined {
  if (bytes.length < 2) return undefined;
  const pathEnd = 2 + bytes.readUInt16BE(0);
  if (bytes.length < pathEnd + 2) return undefined;
  const headersEnd = pathEnd + 2 + bytes.readUInt16BE(pathEnd);
  if (bytes.length < headersEnd + 4) return undefined;
  const end = headersEnd + 4 + bytes.readUInt32BE(headersEnd);
  return bytes.length < end ? undefined : end;
}

/** Adds the frames of the chunks to a list, without the subject and without the frames that only show life. */
function recorder(list: Frame[], subject: string): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    const found = frames(Buffer.concat([rest, chunk]));
    rest = found.rest;
    for (const { header, data } of found.frames)
      if (header !== '' || data.length > 0)
        list.push({ header: header.replace(subject, 'SUBJECT'), data: Buffer.from(data) });
  };
}
