/** A binary heap: the entry with the smallest number is first. */
export class Heap<Item> {
  readonly #items: { readonly order: number; readonly item: Item }[] = [];

  get length(): number {
    return this.#items.length;
  }

  /** The smallest number, or infinity. */
  get first(): number {
    return this.#items[0]?.order ?? Number.POSITIVE_INFINITY;
  }

  push(order: number, item: Item): void {
    const items = this.#items;
    let at = items.length;
    const added = { order, item };
    items.push(added);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] as { order: number; item: Item };
      if (above.order <= order) break;
      items[at] = above;
      at = parent;
    }
    items[at] = added;
  }

  pop(): Item | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (top === undefined || last === undefined || items.length === 0) return top?.item;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && (items[child + 1]?.order ?? 0) < (items[child]?.order ?? 0)) child++;
      const below = items[child] as { order: number; item: Item };
      if (below.order >= last.order) break;
      items[at] = below;
      at = child;
    }
    items[at] = last;
    return top.item;
  }
}
