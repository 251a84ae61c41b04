import type { SeriesName } from '../../view.js';
import { html, setAttribute, setText } from './dom.js';
import { formatTime } from './format.js';
import uPlot from './uplot.js';

/** The series and the format of a chart. */
export interface ChartOptions {
  readonly title: string;
  readonly format: (value: number | null | undefined) => string;
  /** One or two series. The second line is dashed, so that colour is not the only difference. */
  readonly series: readonly { readonly name: SeriesName; readonly label: string }[];
  /** The values are from 0 to 1. */
  readonly isShare?: boolean;
  /** The axis has powers of two. */
  readonly isBinary?: boolean;
}

type Lists = Readonly<Record<SeriesName, readonly (number | null)[]>>;

const HEIGHT = 118;
const COLOURS = ['--line-1', '--line-2'];
const DASHES = [[], [5, 3]];
/** All charts have the same cursor. */
const SYNC = 'time';
const BINARY_STEPS = Array.from({ length: 45 }, (_, power) => 2 ** power);
const TABLE_POINTS = 30;

/** Times of day, without seconds if all are whole minutes. */
const timeTicks = (ticks: readonly number[]): string[] => {
  const texts = ticks.map((tick) => formatTime(tick * 1000));
  return texts.every((text) => text.endsWith(':00')) ? texts.map((text) => text.slice(0, -3)) : texts;
};

/** A chart over time with a caption that has the values at the cursor, or else the last ones. */
export class Chart {
  readonly #options: ChartOptions;
  readonly #plotArea = html('div', { class: 'plot' });
  readonly #values: HTMLElement[];
  readonly #tableBody = html('tbody');
  readonly #details: HTMLDetailsElement;
  #plot: uPlot | undefined;
  #times: readonly number[] = [];
  #lists: (readonly (number | null)[])[] = [];
  /** The time that the arrow keys have chosen. */
  #chosen: number | undefined;

  constructor(parent: HTMLElement, options: ChartOptions) {
    this.#options = options;
    this.#values = options.series.map(() => html('b', {}, '–'));
    const legend = options.series.map(({ label }, index) =>
      html('span', { class: `series series-${index + 1}` }, `${label} `, this.#values[index]!),
    );
    const caption = html(
      'figcaption',
      {},
      html('h3', {}, options.title),
      html('span', { class: 'readout' }, ...legend),
    );
    this.#details = this.#table();
    parent.append(html('figure', { class: 'chart' }, caption, this.#plotArea, this.#details));
    this.#makeSlider();
    new ResizeObserver(() => this.#resize()).observe(this.#plotArea);
  }

  /** Shows these series; `lists` has one value for each time. */
  show(times: readonly number[], lists: Lists): void {
    this.#times = times;
    this.#lists = this.#options.series.map(({ name }) => lists[name] ?? []);
    if (this.#plot === undefined) this.redraw();
    else this.#plot.setData(this.#data());
    // A time that has left the history is replaced by the oldest one.
    if (this.#chosen !== undefined) this.#choose(Math.max(0, this.#times.indexOf(this.#chosen)));
    this.#showValues();
    if (this.#details.open) this.#fillTable();
  }

  /** Draws it again, after a change of the colours. */
  redraw(): void {
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#settings(), this.#data(), this.#plotArea);
    setAttribute(this.#plot.root, 'aria-hidden', 'true');
  }

  #data(): uPlot.AlignedData {
    return [this.#times, ...this.#lists] as unknown as uPlot.AlignedData;
  }

  #settings(): uPlot.Options {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour('--muted'),
      font: '11px system-ui, sans-serif',
      grid: { stroke: colour('--grid'), width: 1 },
      ticks: { show: false },
    };
    const { format, isShare = false, isBinary = false } = this.#options;
    return {
      width: Math.max(120, this.#plotArea.clientWidth),
      height: HEIGHT,
      padding: [6, 6, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      hooks: { setCursor: [() => this.#showValues()] },
      scales: {
        x: { time: true },
        y: { range: (_, __, max) => [0, isShare ? 1 : (max || 1) * 1.08] },
      },
      series: [
        {},
        ...this.#options.series.map((_, index) => ({
          stroke: colour(COLOURS[index]!),
          width: 1.5,
          dash: DASHES[index]!,
          points: { show: false },
          spanGaps: false,
          ...(this.#options.series.length === 1 ? { fill: colour('--fill-1') } : {}),
        })),
      ],
      axes: [
        // A time with seconds is about 50 pixels wide.
        { ...axis, size: 24, space: 66, values: (_, ticks) => timeTicks(ticks) },
        {
          ...axis,
          size: 58,
          space: 26,
          values: (_, ticks) => ticks.map((tick) => format(tick)),
          ...(isBinary ? { incrs: BINARY_STEPS } : {}),
        },
      ],
    };
  }

  #resize(): void {
    const width = this.#plotArea.clientWidth;
    if (this.#plot !== undefined && width > 0 && width !== this.#plot.width)
      this.#plot.setSize({ width, height: HEIGHT });
  }

  #showValues(): void {
    const last = this.#times.length - 1;
    const index = this.#plot?.cursor.idx ?? last;
    this.#values.forEach((element, series) => setText(element, this.#options.format(this.#lists[series]?.[index])));
    // A slider with the focus is read aloud when it changes, so it changes only by keys.
    if (document.activeElement !== this.#plotArea) this.#describe(index, last);
  }

  /** For screen readers the chart is a slider over time whose value is in words. Arrow keys move it. */
  #makeSlider(): void {
    const area = this.#plotArea;
    setAttribute(area, 'tabindex', 0);
    setAttribute(area, 'role', 'slider');
    setAttribute(area, 'aria-label', `${this.#options.title} over time`);
    this.#describe(0, 0);
    area.addEventListener('keydown', (event) => this.#onKey(event));
    area.addEventListener('blur', () => this.#choose(undefined));
  }

  #describe(index: number, last: number): void {
    const area = this.#plotArea;
    setAttribute(area, 'aria-valuemin', 0);
    setAttribute(area, 'aria-valuemax', Math.max(0, last));
    setAttribute(area, 'aria-valuenow', Math.max(0, index));
    setAttribute(area, 'aria-valuetext', this.#textAt(index));
  }

  #textAt(index: number): string {
    const time = this.#times[index];
    if (time === undefined) return 'no data yet';
    const values = this.#options.series.map(({ label }, series) => {
      const value = this.#lists[series]?.[index];
      return `${label} ${value === null || value === undefined ? 'not known' : this.#options.format(value)}`;
    });
    return `${formatTime(time * 1000)}: ${values.join(', ')}`;
  }

  #onKey(event: KeyboardEvent): void {
    const last = this.#times.length - 1;
    const now = this.#chosen === undefined ? last : Math.max(0, this.#times.indexOf(this.#chosen));
    const page = Math.max(1, Math.round(last / 10));
    const steps: Readonly<Record<string, number>> = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      PageDown: now - page,
      PageUp: now + page,
      Home: 0,
      End: last,
    };
    const step = steps[event.key];
    if (step === undefined || last < 0) {
      if (event.key === 'Escape') this.#choose(undefined);
      return;
    }
    event.preventDefault();
    const chosen = Math.min(last, Math.max(0, step));
    this.#choose(chosen);
    this.#describe(chosen, last);
  }

  #choose(index: number | undefined): void {
    this.#chosen = index === undefined ? undefined : this.#times[index];
    if (this.#plot === undefined) return;
    const left = this.#chosen === undefined ? -10 : this.#plot.valToPos(this.#chosen, 'x');
    this.#plot.setCursor({ left, top: this.#chosen === undefined ? -10 : 1 });
  }

  #table(): HTMLDetailsElement {
    const heads = ['Time', ...this.#options.series.map(({ label }) => label)];
    const head = html('tr', {}, ...heads.map((title) => html('th', { scope: 'col' }, title)));
    const table = html('table', {}, html('caption', {}, this.#options.title), html('thead', {}, head), this.#tableBody);
    const details = html('details', {}, html('summary', {}, 'As a table'), table);
    details.addEventListener('toggle', () => this.#fillTable());
    return details;
  }

  #fillTable(): void {
    const first = Math.max(0, this.#times.length - TABLE_POINTS);
    const rows = this.#times.slice(first).map((time, offset) => {
      const cells = this.#lists.map((list) =>
        html('td', { class: 'number' }, this.#options.format(list[first + offset])),
      );
      return html('tr', {}, html('th', { scope: 'row' }, formatTime(time * 1000)), ...cells);
    });
    this.#tableBody.replaceChildren(...rows.reverse());
  }
}
