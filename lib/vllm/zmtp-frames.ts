/**
 * Frames of ZMTP 3.0, the protocol of ZeroMQ, with the mechanism NULL. Only bytes in and bytes out: `zmtp.ts` has the
 * sockets. Source: ZeroMQ RFC 23.
 */

/**
 * Why a connection was refused.
 *
 * - `greeting`: the first bytes are not those of ZMTP
 * - `version`: a ZMTP before 3
 * - `mechanism`: another security mechanism than NULL
 * - `handshake`: no READY command after the greeting, or a malformed one
 * - `socket-type`: a socket that does not fit, such as PUB for REQ
 * - `frame`: reserved flags, or a malformed command
 * - `too-large`: a message with more bytes than allowed
 * - `too-many-parts`: a message with more frames than allowed
 * - `peer`: the other end sent an ERROR command
 */
export type ZmtpFault =
  | 'greeting'
  | 'version'
  | 'mechanism'
  | 'handshake'
  | 'socket-type'
  | 'frame'
  | 'too-large'
  | 'too-many-parts'
  | 'peer';

/** Bytes that are not of the protocol, or exceed a limit. */
export class ZmtpError extends Error {
  constructor(
    readonly fault: ZmtpFault,
    message: string,
  ) {
    super(message);
  }
}

/** One frame: a part of a message, or a command. */
export interface Frame {
  readonly kind: 'command' | 'part';
  /** Whether another part of the same message follows. */
  readonly hasMore: boolean;
  readonly body: Buffer;
}

export const GREETING_BYTES = 64;
const VERSION_AT = 10;
const MECHANISM = Buffer.from('NULL'.padEnd(20, '\0'), 'latin1');

const [MORE, LONG, COMMAND] = [1, 2, 4];
const SHORT_BODY = 255;

/** The greeting of either side: version 3.0, mechanism NULL. */
export const GREETING: Buffer = (() => {
  const greeting = Buffer.alloc(GREETING_BYTES);
  greeting[0] = 0xff;
  greeting[9] = 0x7f;
  greeting[VERSION_AT] = 3;
  MECHANISM.copy(greeting, VERSION_AT + 2);
  return greeting;
})();

/** Checks as much of a greeting as has arrived. @throws ZmtpError */
export function checkGreeting(bytes: Buffer): void {
  const [first = 0xff] = bytes;
  // The low bit of the tenth byte distinguishes ZMTP 3 from earlier versions.
  if (first !== 0xff || ((bytes[9] ?? 1) & 1) !== 1)
    throw new ZmtpError('greeting', 'expected the greeting of ZMTP 3, got other bytes');
  const version = bytes[VERSION_AT];
  if (version !== undefined && version < 3) throw new ZmtpError('version', `expected ZMTP 3, got version ${version}`);
  if (bytes.length >= VERSION_AT + 2 + MECHANISM.length) {
    const mechanism = bytes.subarray(VERSION_AT + 2, VERSION_AT + 2 + MECHANISM.length);
    if (!mechanism.equals(MECHANISM)) throw new ZmtpError('mechanism', 'expected the mechanism NULL, got another');
  }
}

/** A frame as it is sent. */
export function frameOf(body: Uint8Array, kind: Frame['kind'] = 'part', hasMore = false): Buffer {
  const flags = (hasMore ? MORE : 0) | (kind === 'command' ? COMMAND : 0);
  if (body.length <= SHORT_BODY) return Buffer.concat([Buffer.of(flags, body.length), body]);
  const header = Buffer.alloc(9);
  header[0] = flags | LONG;
  header.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([header, body]);
}

/** A message of several parts as it is sent. */
export function messageOf(parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(parts.map((part, index) => frameOf(part, 'part', index + 1 < parts.length)));
}

/** The size of a frame's header, and of its body. Undefined if the header has not arrived. @throws ZmtpError */
export function frameSize(bytes: Buffer, maxBytes: number): { header: number; body: number } | undefined {
  const flags = bytes[0];
  if (flags === undefined) return undefined;
  if (flags > (MORE | LONG | COMMAND) || (flags & (MORE | COMMAND)) === (MORE | COMMAND))
    throw new ZmtpError('frame', `expected the flags of a frame, got 0x${flags.toString(16)}`);
  const header = (flags & LONG) === 0 ? 2 : 9;
  if (bytes.length < header) return undefined;
  const body = header === 2 ? BigInt(bytes[1] as number) : bytes.readBigUInt64BE(1);
  if (body > BigInt(maxBytes))
    throw new ZmtpError('too-large', `expected at most ${maxBytes} bytes, got a frame of ${body}`);
  return { header, body: Number(body) };
}

/** A frame whose bytes have arrived. */
export function frameFrom(flags: number, body: Buffer): Frame {
  return { kind: (flags & COMMAND) === 0 ? 'part' : 'command', hasMore: (flags & MORE) !== 0, body };
}

/** A command: its name, and its data. @throws ZmtpError */
export function commandFrom(body: Buffer): { name: string; data: Buffer } {
  const length = body[0] ?? 0;
  if (length === 0 || 1 + length > body.length) throw new ZmtpError('frame', 'expected the name of a command');
  return { name: body.toString('latin1', 1, 1 + length), data: body.subarray(1 + length) };
}

export function commandOf(name: string, data: Uint8Array): Buffer {
  return frameOf(Buffer.concat([Buffer.of(name.length), Buffer.from(name, 'latin1'), data]), 'command');
}

/** The READY command of a socket. */
export function readyOf(socketType: string): Buffer {
  const property = (name: string, value: string): Buffer => {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(value.length);
    return Buffer.concat([Buffer.of(name.length), Buffer.from(name, 'latin1'), size, Buffer.from(value, 'latin1')]);
  };
  return commandOf('READY', Buffer.concat([property('Socket-Type', socketType), property('Identity', '')]));
}

/** The socket type in the data of a READY command. @throws ZmtpError */
export function socketTypeFrom(data: Buffer): string {
  let found: string | undefined;
  for (let at = 0; at < data.length; ) {
    const nameEnd = at + 1 + (data[at] as number);
    if (nameEnd + 4 > data.length) throw new ZmtpError('handshake', 'a property of READY is cut off');
    const valueEnd = nameEnd + 4 + data.readUInt32BE(nameEnd);
    if (valueEnd > data.length) throw new ZmtpError('handshake', 'a property of READY is cut off');
    if (data.toString('latin1', at + 1, nameEnd).toLowerCase() === 'socket-type')
      found = data.toString('latin1', nameEnd + 4, valueEnd);
    at = valueEnd;
  }
  if (found === undefined) throw new ZmtpError('handshake', 'READY has no Socket-Type');
  return found;
}
