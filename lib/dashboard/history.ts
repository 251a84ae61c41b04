import { type HistoryPoint, type HistoryView, SERIES, type SeriesName } from './view.js';

/** The last points in a ring: the oldest one is replaced when it is full. */
export class History {
  readonly #points: (HistoryPoint | undefined)[];
  #count = 0;

  /** @param capacity the number of points, at least 1 */
  constructor(
    readonly capacity: number,
    readonly intervalMs: number,
  ) {
    this.#points = new Array<HistoryPoint | undefined>(capacity);
  }

  /** Adds a point. One that is not later than the last is ignored, as after a clock was set back. */
  add(point: HistoryPoint): void {
    if (this.#count > 0 && point.time <= (this.#at(this.#count - 1)?.time ?? 0)) {
      if (point.time > (this.#at(this.#count - 1)?.time ?? 0) - this.#spanSeconds) return;
      // The clock has jumped back by more than all points: those before are of another time.
      this.#count = 0;
    }
    this.#points[this.#count++ % this.capacity] = point;
  }

  /** All points, oldest first. */
  view(): HistoryView {
    const first = Math.max(0, this.#count - this.capacity);
    const points = Array.from({ length: this.#count - first }, (_, index) => this.#at(first + index) as HistoryPoint);
    const column = (name: SeriesName): (number | null)[] => points.map(({ values }) => values[name]);
    return {
      intervalMs: this.intervalMs,
      capacity: this.capacity,
      times: points.map(({ time }) => time),
      series: Object.fromEntries(SERIES.map((name) => [name, column(name)])) as unknown as HistoryView['series'],
    };
  }

  get #spanSeconds(): number {
    return (this.capacity * this.intervalMs) / 1000;
  }

  #at(index: number): HistoryPoint | undefined {
    return this.#points[index % this.capacity];
  }
}
