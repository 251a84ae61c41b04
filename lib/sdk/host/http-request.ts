import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';

import { DynamoError } from '../../errors.js';

const refused = (message: string, cause?: unknown): DynamoError =>
  new DynamoError('InvalidRequest', message, { reason: 'request.invalid', cause });

/** The parameters of a query. One that is repeated is an array. */
function queryOf({ searchParams }: URL): Record<string, string | string[]> {
  const names = [...new Set(searchParams.keys())];
  return Object.fromEntries(
    names.map((name) => {
      const [first = '', ...others] = searchParams.getAll(name);
      return [name, others.length === 0 ? first : [first, ...others]];
    }),
  );
}

type Decode = (body: Buffer, options: { readonly maxOutputLength: number }) => Promise<Buffer>;

/** By the value of `content-encoding`. */
const DECODERS: ReadonlyMap<string, Decode> = new Map<string, Decode>([
  ['identity', async (body) => body],
  ['gzip', promisify(gunzip)],
  ['x-gzip', promisify(gunzip)],
  ['deflate', promisify(inflate)],
  ['br', promisify(brotliDecompress)],
]);

const ENCODINGS = 'gzip, deflate, br';

const tooLarge = (maxBytes: number): DynamoError =>
  new DynamoError('PayloadTooLarge', `the request body: expected at most ${maxBytes} bytes`, {
    reason: 'request.too_large',
  });

/** The body without its encoding. The limit holds for the decoded bytes too. */
async function decoded(body: Buffer, encoding: string, maxBytes: number): Promise<Buffer> {
  if (body.byteLength === 0) return body;
  const decode = DECODERS.get(encoding.trim().toLowerCase() || 'identity');
  if (decode === undefined)
    throw new DynamoError('UnsupportedMedia', `content-encoding: expected one of ${ENCODINGS}, got '${encoding}'`, {
      reason: 'request.unsupported_media',
    });
  try {
    return await decode(body, { maxOutputLength: maxBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(maxBytes);
    throw refused(`the request body: expected ${encoding}: ${(error as Error).message}`, error);
  }
}

async function bodyOf(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  // Node.js discards the rest of a refused body: a reset connection would lose the answer.
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).byteLength;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

/**
 * The request of an endpoint: the query for GET and DELETE, else the JSON of the body; undefined for an empty body.
 *
 * @throws DynamoError `DYN_INVALID_REQUEST`, `DYN_PAYLOAD_TOO_LARGE` or `DYN_UNSUPPORTED_MEDIA`
 */
export async function readRequest(request: IncomingMessage, url: URL, maxBytes: number): Promise<unknown> {
  if (request.method === 'GET' || request.method === 'DELETE') return queryOf(url);
  const body = await decoded(await bodyOf(request, maxBytes), request.headers['content-encoding'] ?? '', maxBytes);
  if (body.byteLength === 0) return undefined;
  const type = request.headers['content-type'] ?? '';
  if (!/^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(type))
    throw new DynamoError('UnsupportedMedia', `content-type: expected application/json, got '${type}'`, {
      reason: 'request.unsupported_media',
    });
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) as unknown;
  } catch (error) {
    throw refused(`the request body: expected JSON: ${(error as Error).message}`, error);
  }
}
