import type { RecalledPhases } from './worker-messages.js';

/** How long workers may take to answer. One that is blocked by its engine answers later, which is too late. */
const WAIT_MS = 300;
/** Questions at one time. */
const MAX_OPEN = 64;

/** Collects what the workers of a graph know of a request. */
export class Recalls {
  readonly #open = new Map<string, RecalledPhases[]>();

  /** Calls `send`, and resolves with the answers that came within a moment. */
  async ask(requestId: string, send: () => void): Promise<readonly RecalledPhases[]> {
    if (typeof requestId !== 'string' || this.#open.has(requestId) || this.#open.size >= MAX_OPEN) return [];
    const answers: RecalledPhases[] = [];
    this.#open.set(requestId, answers);
    send();
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    this.#open.delete(requestId);
    return answers;
  }

  add(answer: RecalledPhases): void {
    this.#open.get(answer.requestId)?.push(answer);
  }
}
