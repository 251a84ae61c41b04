import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogSource } from './backend.js';

const INTERVAL_MS = 500;
/** A reader that has stopped for this long is dropped. */
const STALL_MS = 30_000;

/** Resolves with false if the connection has ended or does not take more in time. */
function drained(response: ServerResponse, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (isDrained: boolean) => (): void => {
      clearTimeout(timer);
      response.off('drain', onDrain).off('close', onClose);
      signal.removeEventListener('abort', onClose);
      resolve(isDrained);
    };
    const [onDrain, onClose] = [end(true), end(false)];
    const timer = setTimeout(onClose, STALL_MS);
    response.once('drain', onDrain).once('close', onClose);
    signal.addEventListener('abort', onClose, { once: true });
  });
}

/**
 * Writes lines as they are added, one JSON value a line, until the reader leaves. A slow reader is waited for: what it
 * is too slow for is left out by the source, which reads a bounded part at a time.
 */
export async function streamLogs(source: LogSource, response: ServerResponse, signal: AbortSignal): Promise<void> {
  response.writeHead(200, { 'content-type': 'application/x-ndjson; charset=utf-8' });
  response.flushHeaders();
  while (!signal.aborted && !response.destroyed) {
    const { lines, skippedBytes } = await source.read();
    const skipped = skippedBytes > 0 ? `${JSON.stringify({ skipped: skippedBytes })}\n` : '';
    const text = skipped + lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    if (text !== '' && !response.write(text) && !(await drained(response, signal))) break;
    await sleep(INTERVAL_MS, undefined, { signal }).catch(() => {});
  }
  if (signal.aborted) response.end();
  else response.destroy();
}
