/** How a call ended: with its last item, by its caller, or with an error. */
export type End = 'whole' | 'cut' | 'failed';

export interface Breach {
  readonly call: number;
  readonly rule: string;
  readonly detail: string;
}

interface Open {
  readonly expected: number;
  next: number;
}

/**
 * The record of many calls, checked while it is written. Each call ends exactly once. Its items are its own and in
 * order, with none after the end. A complete call had all its items.
 */
export class History {
  readonly breaches: Breach[] = [];
  readonly ends: Record<End, number> = { whole: 0, cut: 0, failed: 0 };
  readonly #open = new Map<number, Open>();
  readonly #over = new Set<number>();

  started(call: number, expected: number): void {
    if (this.#open.has(call) || this.#over.has(call)) this.#breach(call, 'a call starts once', 'started again');
    this.#open.set(call, { expected, next: 0 });
  }

  /** `owner` and `index` are the fields of the item. */
  item(call: number, owner: number, index: number): void {
    const open = this.#open.get(call);
    if (open === undefined) {
      const [rule, detail] = this.#over.has(call)
        ? ['no item after the end', 'had ended']
        : ['a call starts once', 'never started'];
      return this.#breach(call, rule as string, `item ${index} of a call that ${detail}`);
    }
    if (owner !== call) this.#breach(call, "items are the call's own", `an item of call ${owner}`);
    else if (index !== open.next) this.#breach(call, 'items come in order', `item ${index}, expected ${open.next}`);
    else if (index >= open.expected)
      this.#breach(call, 'no more items than asked for', `item ${index} of ${open.expected}`);
    open.next = Math.max(open.next, index) + 1;
  }

  ended(call: number, end: End): void {
    const open = this.#open.get(call);
    if (open === undefined) {
      return this.#breach(
        call,
        'a call ends exactly once',
        this.#over.has(call) ? `ended again, ${end}` : `ended ${end}, never started`,
      );
    }
    this.#open.delete(call);
    this.#over.add(call);
    this.ends[end] += 1;
    if (end === 'whole' && open.next < open.expected) {
      this.#breach(call, 'a call that ends whole had all its items', `${open.next} of ${open.expected}`);
    }
  }

  get count(): number {
    return this.#over.size;
  }

  /** Every violation, including calls that never ended. */
  finish(): readonly Breach[] {
    for (const [call, { next }] of this.#open)
      this.#breach(call, 'a call ends exactly once', `never ended, after ${next} items`);
    this.#open.clear();
    return this.breaches;
  }

  #breach(call: number, rule: string, detail: string): void {
    this.breaches.push({ call, rule, detail });
  }
}
