import type { ServerResponse } from 'node:http';

const MAX_VIEWERS = 64;
/** A viewer that has not read for this long is dropped. Its browser connects again when it runs. */
const STALL_MS = 30_000;

/** One event of a stream, ready to be written. */
export const eventText = (event: string, data: string): string => `event: ${event}\ndata: ${data}\n\n`;

interface Viewer {
  /** Since when its connection is full; undefined while it takes more. */
  fullSinceMs: number | undefined;
  /** Whether it has missed a snapshot, so that it needs the whole history. */
  hasMissed: boolean;
}

/**
 * The viewers of the event stream. Each snapshot is serialized once. A viewer whose connection is full misses
 * snapshots, so at most one is buffered for it, and gets the whole history when it reads again.
 */
export class Viewers {
  readonly #viewers = new Map<ServerResponse, Viewer>();

  /** @param historyText the event with the whole history */
  constructor(
    private readonly historyText: () => string,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  get size(): number {
    return this.#viewers.size;
  }

  get bufferedBytes(): number {
    return [...this.#viewers.keys()].reduce((sum, { writableLength }) => sum + writableLength, 0);
  }

  get isFull(): boolean {
    return this.#viewers.size >= MAX_VIEWERS;
  }

  /** Adds a viewer, whose headers are written. `last` is the last snapshot as an event. */
  add(response: ServerResponse, last: string): void {
    const viewer: Viewer = { fullSinceMs: undefined, hasMissed: false };
    this.#viewers.set(response, viewer);
    response.on('close', () => this.#viewers.delete(response));
    response.on('error', () => response.destroy());
    response.on('drain', () => {
      viewer.fullSinceMs = undefined;
    });
    this.#write(response, viewer, `retry: 2000\n\n${this.historyText()}${last}`);
  }

  /** Sends an event to all that read. */
  send(text: string): void {
    const nowMs = this.nowMs();
    let history: string | undefined;
    for (const [response, viewer] of this.#viewers) {
      if (viewer.fullSinceMs !== undefined) {
        viewer.hasMissed = true;
        if (nowMs - viewer.fullSinceMs > STALL_MS) response.destroy();
        continue;
      }
      if (!viewer.hasMissed) {
        this.#write(response, viewer, text);
        continue;
      }
      viewer.hasMissed = false;
      history ??= this.historyText();
      this.#write(response, viewer, history + text);
    }
  }

  /** Ends all streams. */
  close(): void {
    for (const [response, { fullSinceMs }] of this.#viewers)
      if (fullSinceMs === undefined) response.end(eventText('end', '{}'));
      else response.destroy();
  }

  #write(response: ServerResponse, viewer: Viewer, text: string): void {
    if (!response.write(text)) viewer.fullSinceMs = this.nowMs();
  }
}
