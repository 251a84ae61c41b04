import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Why a request is refused. */
export class RequestError extends Error {
  override readonly name = 'RequestError';

  constructor(
    /** An HTTP status. */
    readonly status: number,
    /** Stable, such as `E_TOKEN`. */
    readonly code: string,
    message: string,
    readonly hint?: string,
  ) {
    super(message);
  }
}

/** Addresses that only this machine reaches. */
const LOOPBACK = /^(localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const HOST = /^(\[[\da-f:]+\]|[^:[\]/\s]+)(?::\d{1,5})?$/i;

/** Whether a server that listens on this host is reached only from this machine. */
export const isLoopback = (host: string): boolean => LOOPBACK.test(host.includes(':') ? `[${host}]` : host);

/**
 * Refuses what other web pages send. A page whose name was bound to this address sends that name as `Host`; any
 * other page has its own origin, or says that it is another site. The port is not checked, so that a tunnel works.
 *
 * @throws RequestError 403
 */
export function checkSite({ headers }: IncomingMessage): void {
  const { host = '', origin, 'sec-fetch-site': site = 'none' } = headers;
  const [, name = ''] = HOST.exec(host) ?? [];
  if (!LOOPBACK.test(name.toLowerCase()))
    throw new RequestError(403, 'E_HOST', 'the host must be localhost or a loopback address');
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`)
    throw new RequestError(403, 'E_ORIGIN', 'only the page of this server may send requests');
  if (site !== 'none' && site !== 'same-origin')
    throw new RequestError(403, 'E_ORIGIN', 'only the page of this server may send requests');
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Compares the token of requests in a time that does not depend on it. */
export class TokenCheck {
  readonly #digest: Buffer;

  constructor(token: string) {
    this.#digest = digestOf(token);
  }

  /** @throws RequestError 401 */
  check({ headers }: IncomingMessage): void {
    const [, given = ''] = /^Bearer (.+)$/i.exec(headers.authorization ?? '') ?? [];
    if (timingSafeEqual(digestOf(given), this.#digest)) return;
    throw new RequestError(
      401,
      'E_TOKEN',
      given === '' ? 'this needs the token' : 'the token is wrong',
      'Open the address that the command has printed, with its token.',
    );
  }
}

const MAX_BODY_BYTES = 128 * 1024;

const tooLarge = (): RequestError =>
  new RequestError(413, 'E_TOO_LARGE', `the body must have at most ${MAX_BODY_BYTES} bytes`);

/**
 * The body of a request as JSON.
 *
 * @throws RequestError 400, 413 or 415
 */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') throw new RequestError(415, 'E_MEDIA_TYPE', 'the body must be application/json');
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new RequestError(400, 'E_JSON', 'the body is no JSON');
  }
}
