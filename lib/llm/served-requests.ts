import { currentRequest } from '../runtime/context.js';

/** A read of KV blocks for a request. Times are milliseconds since 1970. */
export interface ServedTransfer {
  readonly endedAtMs: number;
  /** From the offer and the pages, whichever came last, to the blocks in place. */
  readonly durationMs: number;
  /** How long the offer was waited for before that. */
  readonly waitMs: number;
  readonly bytes: number;
  readonly blocks: number;
  /** The instance id of the worker that the blocks came from, in decimal. */
  readonly from: string;
  readonly transport: string;
}

/** What an engine of this process did for a request. Times are milliseconds since 1970. */
export interface ServedPhases {
  readonly requestId: string;
  readonly arrivedAtMs: number;
  readonly firstTokenAtMs?: number;
  /** Absent while it runs. */
  readonly endedAtMs?: number;
  readonly tokens: number;
  readonly transfer?: ServedTransfer;
}

type Writable = { -readonly [Name in keyof ServedPhases]: ServedPhases[Name] };

const CAPACITY = 512;

const nowMs = (): number => performance.timeOrigin + performance.now();

/** Takes the times of one request. */
export class ServedRecord {
  readonly #phases: Writable;

  constructor(phases: Writable) {
    this.#phases = phases;
  }

  /** An item of the answer, before it is sent. */
  item(value: unknown): void {
    const count = (value as { token_ids?: ArrayLike<number> } | null)?.token_ids?.length ?? 0;
    if (count === 0) return;
    this.#phases.firstTokenAtMs ??= nowMs();
    this.#phases.tokens += count;
  }

  end(): void {
    this.#phases.endedAtMs = nowMs();
  }
}

/**
 * The phases of the last requests that the engines of this process served, for the timeline of a request. It records
 * nothing until it is enabled.
 */
class ServedRequests {
  #isEnabled = false;
  readonly #requests = new Map<string, Writable>();

  enable(): void {
    this.#isEnabled = true;
  }

  /** Undefined if it is not enabled. */
  begin(requestId: string): ServedRecord | undefined {
    if (!this.#isEnabled) return undefined;
    const phases = { requestId, arrivedAtMs: nowMs(), tokens: 0 };
    this.#requests.delete(requestId);
    this.#requests.set(requestId, phases);
    if (this.#requests.size > CAPACITY)
      for (const oldest of this.#requests.keys()) {
        this.#requests.delete(oldest);
        break;
      }
    return new ServedRecord(phases);
  }

  /** A transfer that has just ended, for the request that the current code serves. */
  transferred(transfer: Omit<ServedTransfer, 'endedAtMs'>): void {
    const phases = this.#isEnabled ? this.#requests.get(currentRequest()?.id ?? '') : undefined;
    if (phases !== undefined) phases.transfer = { ...transfer, endedAtMs: nowMs() };
  }

  find(requestId: string): ServedPhases | undefined {
    return this.#requests.get(requestId);
  }
}

export const servedRequests: ServedRequests = new ServedRequests();
