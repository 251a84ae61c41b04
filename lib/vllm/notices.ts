/**
 * Messages between workers, over NIXL's notifications. `ID:N` says that one of N readers no longer needs the blocks of
 * a request. `HB:ID,ID` extends the leases of requests. Source: vLLM `nixl/pull_worker.py`.
 */
export type Notice =
  | { readonly kind: 'read'; readonly requestId: string; readonly readers: number }
  | { readonly kind: 'heartbeat'; readonly requestIds: readonly string[] };

const HEARTBEAT = 'HB:';
const MAX_READERS = 1024;
/** A notice names a few hundred requests at most. */
const MAX_BYTES = 2 ** 20;

export const readNoticeOf = (requestId: string, readers: number): string => `${requestId}:${readers}`;

export const heartbeatOf = (requestIds: readonly string[]): string => HEARTBEAT + requestIds.join(',');

/** The notice in a message; undefined if it is another message. */
export function noticeFrom(data: Uint8Array): Notice | undefined {
  if (data.byteLength > MAX_BYTES) return undefined;
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
  if (text.startsWith(HEARTBEAT)) return { kind: 'heartbeat', requestIds: text.slice(HEARTBEAT.length).split(',') };
  const at = text.lastIndexOf(':');
  const readers = Number(text.slice(at + 1));
  if (at < 1 || !Number.isInteger(readers) || readers < 1 || readers > MAX_READERS) return undefined;
  return { kind: 'read', requestId: text.slice(0, at), readers };
}
