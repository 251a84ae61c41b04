import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { DecisionRecord } from '../planner/index.js';
import type { DecisionView } from './view.js';

const MAX_DECISIONS = 50;
const MAX_BYTES = 256 * 1024;

/** A line of `decisions.jsonl`. Without the metrics of each worker its pools have only counts. */
type Line = Omit<DecisionRecord, 'snapshot'> & {
  readonly snapshot: { readonly pools: Readonly<Record<string, { readonly desired: number; readonly ready: number }>> };
};

function decisionOf(line: string): DecisionView | undefined {
  try {
    const { tick, atMs, outcome, snapshot, targets, reasons, errors } = JSON.parse(line) as Line;
    return {
      tick,
      atMs,
      outcome,
      pools: Object.entries(snapshot.pools).map(([role, { desired, ready }]) => ({
        role,
        desired,
        ready,
        target: (targets as Readonly<Record<string, number>>)[role] ?? desired,
      })),
      reasons: reasons.map(({ role, code, text }) => ({ role, code, text })),
      errors: errors.map(String),
    };
  } catch {
    return undefined;
  }
}

/**
 * The last decisions of the planner of a graph, from its file. Decisions that change nothing, for the same reasons as
 * the one before, are left out except the last.
 */
export class DecisionFile {
  #inode: number | undefined;
  #offset = 0;
  #decisions: DecisionView[] = [];

  constructor(private readonly path: string) {}

  /** Reads what was added since the last call. */
  async read(): Promise<readonly DecisionView[]> {
    // Most graphs have no planner, and an error for each reading costs more than all else here.
    const found = statSync(this.path, { throwIfNoEntry: false });
    if (found === undefined || (found.ino === this.#inode && found.size === this.#offset)) return this.#decisions;
    const file = await open(this.path, 'r').catch(() => undefined);
    if (file === undefined) return this.#decisions;
    try {
      const { ino, size } = await file.stat();
      if (ino !== this.#inode || size < this.#offset) this.#offset = 0;
      this.#inode = ino;
      if (size === this.#offset) return this.#decisions;
      const from = Math.max(this.#offset, size - MAX_BYTES);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
      const bytes = buffer.subarray(0, bytesRead);
      const end = bytes.lastIndexOf(0x0a) + 1;
      this.#offset = from + end;
      for (const line of bytes.subarray(0, end).toString('utf8').split('\n')) this.#add(decisionOf(line));
      return this.#decisions;
    } finally {
      await file.close();
    }
  }

  #add(decision: DecisionView | undefined): void {
    if (decision === undefined) return;
    const last = this.#decisions.at(-1);
    const isRepeated = last !== undefined && last.outcome === 'unchanged' && sameness(last) === sameness(decision);
    this.#decisions = [...(isRepeated ? this.#decisions.slice(0, -1) : this.#decisions), decision].slice(
      -MAX_DECISIONS,
    );
  }
}

function sameness({ outcome, pools, reasons, errors }: DecisionView): string {
  const targets = pools.map(({ role, target }) => [role, target]);
  return JSON.stringify([outcome, targets, reasons.map(({ role, code }) => [role, code]), errors]);
}
