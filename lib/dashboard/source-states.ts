import { reasonOf } from '../addon/callback.js';
import type { SourceView } from './view.js';

const MAX_MESSAGE_CHARACTERS = 300;

/** Which sources answer, and since when they do or do not. */
export class SourceStates {
  readonly #states = new Map<string, SourceView>();

  constructor(private readonly nowMs: () => number = Date.now) {}

  /** Calls a source and notes how it ends. Undefined if it fails. */
  async of<T>(name: string, call: () => Promise<T>): Promise<T | undefined> {
    try {
      const value = await call();
      this.set(name, 'ok');
      return value;
    } catch (error) {
      this.set(name, 'failed', reasonOf(error).slice(0, MAX_MESSAGE_CHARACTERS));
      return undefined;
    }
  }

  set(name: string, state: SourceView['state'], message?: string): void {
    const before = this.#states.get(name);
    const sinceMs = before?.state === state ? before.sinceMs : this.nowMs();
    this.#states.set(name, { name, state, message, sinceMs });
  }

  /** Forgets the sources that are not among these. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#states.keys()) if (!names.has(name)) this.#states.delete(name);
  }

  all(): SourceView[] {
    return [...this.#states.values()];
  }
}
