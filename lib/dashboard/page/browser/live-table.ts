import { arrange, html, setAttribute, setText } from './dom.js';

/** A column of a table. */
export interface Column<Row> {
  readonly title: string;
  /** Its explanation, for a column whose title is short. */
  readonly hint?: string;
  readonly isNumber?: boolean;
  /** The text of a cell. Not needed if `update` sets all of it. */
  readonly text?: (row: Row) => string;
  /** What rows are sorted by; unknown values come last. A column without it cannot be sorted by. */
  readonly sortBy?: (row: Row) => string | number | undefined;
  /** Puts more than a text into a new cell. */
  readonly create?: (cell: HTMLElement, row: Row) => void;
  /** Updates a cell that `create` has filled. */
  readonly update?: (cell: HTMLElement, row: Row) => void;
}

/** The column and the direction that rows are sorted by. */
interface Order {
  readonly column: number;
  readonly isDescending: boolean;
}

export interface LiveTableOptions<Row> {
  /** Read by screen readers. */
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly keyOf: (row: Row) => string;
  /** Shown instead of rows. */
  readonly empty: string;
  /** Whether the rows are one stop of the Tab key, and the arrow keys go from button to button. For many rows. */
  readonly isOneStop?: boolean;
}

/** Rows that moved at every update could not be read. */
const SORT_MS = 5000;
/** Rows out of sight that one update changes, so that many rows cost little. */
const HIDDEN_ROWS_PER_UPDATE = 16;

interface DrawnRow<Row> {
  readonly element: HTMLTableRowElement;
  readonly cells: readonly HTMLElement[];
  /** The data that it shows from the next drawing on. */
  row: Row;
}

/** Compares as people do, so `W#10` comes after `W#9`. */
const collator = new Intl.Collator('en', { numeric: true });

function compare(a: string | number | undefined, b: string | number | undefined, isDescending: boolean): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  const order = typeof a === 'number' && typeof b === 'number' ? a - b : collator.compare(String(a), String(b));
  return isDescending ? -order : order;
}

/**
 * A table whose cells change in place. Rows are sorted by the column whose heading was pressed; without one they have
 * the order of the data. The first column is the heading of its row.
 */
export class LiveTable<Row> {
  readonly #options: LiveTableOptions<Row>;
  readonly #body = html('tbody');
  readonly #headings: HTMLTableCellElement[];
  readonly #rows = new Map<string, DrawnRow<Row>>();
  readonly #byElement = new WeakMap<Element, DrawnRow<Row>>();
  readonly #inSight = new Set<DrawnRow<Row>>();
  readonly #sight: IntersectionObserver;
  /** Counts updates, for the rows out of sight. */
  #updates = 0;
  #sortedMs = Number.NEGATIVE_INFINITY;
  readonly #empty: HTMLParagraphElement;
  #order: Order | undefined;
  #shown: readonly Row[] = [];

  constructor(parent: HTMLElement, options: LiveTableOptions<Row>) {
    this.#options = options;
    this.#headings = options.columns.map((column, index) => this.#heading(column, index));
    this.#empty = html('p', { class: 'empty' }, options.empty);
    const caption = html('caption', { class: 'hidden' }, options.caption);
    const table = html('table', {}, caption, html('thead', {}, html('tr', {}, ...this.#headings)), this.#body);
    // What scrolls must be reachable by keyboard.
    setAttribute(parent, 'tabindex', 0);
    setAttribute(parent, 'role', 'group');
    setAttribute(parent, 'aria-label', options.caption);
    parent.append(table, this.#empty);
    this.#sight = new IntersectionObserver((changes) => this.#onSight(changes), { root: parent, rootMargin: '100px' });
    if (options.isOneStop !== true) return;
    this.#body.addEventListener('keydown', (event) => this.#onKey(event));
    this.#body.addEventListener('focusin', ({ target }) => this.#setStop(target as HTMLElement));
  }

  /** Shows these rows. Those out of sight change in turn, a few at each call, or when they are scrolled to. */
  render(rows: readonly Row[]): void {
    this.#shown = rows;
    const { keyOf } = this.#options;
    const present = new Set<string>();
    const turns = Math.ceil(rows.length / HIDDEN_ROWS_PER_UPDATE);
    const turn = this.#updates++ % Math.max(1, turns);
    let isChanged = rows.length !== this.#rows.size;
    rows.forEach((row, index) => {
      const key = keyOf(row);
      present.add(key);
      const known = this.#rows.get(key);
      isChanged ||= known === undefined;
      const drawn = known ?? this.#create(key, row);
      drawn.row = row;
      if (known === undefined || this.#inSight.has(drawn) || index % turns === turn) this.#draw(drawn);
    });
    for (const [key, drawn] of this.#rows) {
      if (present.has(key)) continue;
      this.#sight.unobserve(drawn.element);
      this.#inSight.delete(drawn);
      drawn.element.remove();
      this.#rows.delete(key);
    }
    if (isChanged || this.#order === undefined || performance.now() - this.#sortedMs >= SORT_MS) this.#arrange();
    this.#empty.hidden = rows.length > 0;
    if (this.#options.isOneStop === true && this.#body.querySelector('button[tabindex="0"]:not([hidden])') === null)
      this.#setStop(this.#body.querySelector('button:not([hidden])'));
  }

  #draw({ cells, row }: DrawnRow<Row>): void {
    this.#options.columns.forEach((column, index) => {
      const cell = cells[index]!;
      if (column.create === undefined) setText(cell, column.text!(row));
      else column.update?.(cell, row);
    });
  }

  #onSight(changes: readonly IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of changes) {
      const drawn = this.#byElement.get(target)!;
      if (!isIntersecting) this.#inSight.delete(drawn);
      else if (target.isConnected) {
        this.#inSight.add(drawn);
        this.#draw(drawn);
      }
    }
  }

  #create(key: string, row: Row): DrawnRow<Row> {
    const cells = this.#options.columns.map((column, index) => {
      const cell = index === 0 ? html('th', { scope: 'row' }) : html('td');
      if (column.isNumber === true) cell.className = 'number';
      column.create?.(cell, row);
      return cell;
    });
    const created: DrawnRow<Row> = { element: html('tr', {}, ...cells), cells, row };
    if (this.#options.isOneStop === true)
      for (const button of created.element.querySelectorAll('button')) setAttribute(button, 'tabindex', -1);
    this.#rows.set(key, created);
    this.#byElement.set(created.element, created);
    this.#sight.observe(created.element);
    return created;
  }

  /** Rows do not move under the focus: a row that is used stays where it is until the focus leaves the rows. */
  #arrange(): void {
    const { columns, keyOf } = this.#options;
    const order = this.#order;
    let rows = this.#shown;
    this.#sortedMs = performance.now();
    if (order !== undefined) {
      const { sortBy } = columns[order.column]!;
      const keyed = rows.map((row) => [sortBy!(row), row] as const);
      rows = keyed.sort(([a], [b]) => compare(a, b, order.isDescending)).map(([, row]) => row);
    }
    const elements = rows.map((row) => this.#rows.get(keyOf(row))!.element);
    if (this.#body.contains(document.activeElement)) {
      this.#body.append(...elements.filter((element) => !element.isConnected));
      return;
    }
    arrange(this.#body, elements);
  }

  #heading(column: Column<Row>, index: number): HTMLTableCellElement {
    const heading = html('th', {
      scope: 'col',
      title: column.hint,
      class: column.isNumber === true ? 'number' : undefined,
    });
    if (column.sortBy === undefined) {
      heading.append(column.title);
      return heading;
    }
    const button = html('button', { type: 'button', class: 'sort' }, column.title);
    button.addEventListener('click', () => this.#sort(index));
    heading.append(button);
    setAttribute(heading, 'aria-sort', 'none');
    return heading;
  }

  /** Numbers begin with the largest, texts with the first; the third press restores the order of the data. */
  #sort(column: number): void {
    const first = this.#options.columns[column]!.isNumber === true;
    const last = this.#order?.column === column ? this.#order : undefined;
    if (last === undefined) this.#order = { column, isDescending: first };
    else this.#order = last.isDescending === first ? { column, isDescending: !first } : undefined;
    this.#headings.forEach((heading, index) => {
      if (!heading.hasAttribute('aria-sort')) return;
      const isActive = this.#order?.column === index;
      setAttribute(heading, 'aria-sort', !isActive ? 'none' : this.#order!.isDescending ? 'descending' : 'ascending');
    });
    this.#arrange();
  }

  #setStop(button: HTMLElement | null): void {
    if (button === null || button.tagName !== 'BUTTON') return;
    for (const other of this.#body.querySelectorAll('button[tabindex="0"]')) setAttribute(other, 'tabindex', -1);
    setAttribute(button, 'tabindex', 0);
  }

  #onKey(event: KeyboardEvent): void {
    const buttons = [...this.#body.querySelectorAll<HTMLButtonElement>('button:not([hidden])')];
    const index = buttons.indexOf(event.target as HTMLButtonElement);
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      Home: 0,
      End: buttons.length - 1,
    };
    const next = index === -1 ? undefined : buttons[steps[event.key] ?? -1];
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
  }
}
