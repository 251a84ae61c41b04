import type { DashboardSnapshot, HistoryView, SeriesName } from '../../view.js';
import { Chart, type ChartOptions } from './chart.js';
import { byId, setText } from './dom.js';
import { formatByteRate, formatCount, formatMs, formatShare, formatWhole } from './format.js';

const CHARTS: readonly ChartOptions[] = [
  {
    title: 'Time to first token',
    format: formatMs,
    series: [
      { name: 'ttftP50Ms', label: 'p50' },
      { name: 'ttftP95Ms', label: 'p95' },
    ],
  },
  {
    title: 'Inter-token latency',
    format: formatMs,
    series: [
      { name: 'itlP50Ms', label: 'p50' },
      { name: 'itlP95Ms', label: 'p95' },
    ],
  },
  {
    title: 'Output tokens a second',
    format: formatCount,
    series: [{ name: 'outputTokensPerSecond', label: 'tokens/s' }],
  },
  {
    title: 'Requests a second',
    format: formatCount,
    series: [{ name: 'requestsPerSecond', label: 'requests/s' }],
  },
  {
    title: 'Requests in flight',
    format: formatWhole,
    series: [
      { name: 'running', label: 'running' },
      { name: 'queued', label: 'queued' },
    ],
  },
  {
    title: 'KV cache',
    format: formatShare,
    isShare: true,
    series: [
      { name: 'kvUsage', label: 'usage' },
      { name: 'hitRate', label: 'hit rate' },
    ],
  },
  {
    title: 'KV transfers',
    format: formatByteRate,
    isBinary: true,
    series: [{ name: 'transferBytesPerSecond', label: 'bytes/s' }],
  },
  {
    title: 'Ready instances',
    format: formatWhole,
    series: [{ name: 'readyInstances', label: 'ready' }],
  },
];

/** The history of all series, as arrays that grow by a point a second. */
class History {
  capacity = 0;
  times: number[] = [];
  series = {} as Record<SeriesName, (number | null)[]>;

  replace({ capacity, times, series }: HistoryView): void {
    this.capacity = capacity;
    this.times = [...times];
    this.series = Object.fromEntries(
      Object.entries(series).map(([name, values]) => [name, [...values]]),
    ) as typeof this.series;
  }

  /** Returns whether the point is a new one. */
  add({ time, values }: DashboardSnapshot['point']): boolean {
    if (time <= (this.times.at(-1) ?? Number.NEGATIVE_INFINITY)) return false;
    const surplus = this.times.length + 1 - this.capacity;
    this.times.push(time);
    if (surplus > 0) this.times.splice(0, surplus);
    for (const name of Object.keys(values) as SeriesName[]) {
      const list = (this.series[name] ??= []);
      list.push(values[name]);
      if (surplus > 0) list.splice(0, surplus);
    }
    return true;
  }
}

/** The charts. They share one time axis and one cursor. */
export class ChartsPanel {
  readonly #history = new History();
  readonly #charts: readonly Chart[];

  constructor() {
    const container = byId('charts');
    this.#charts = CHARTS.map((options) => new Chart(container, options));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      for (const chart of this.#charts) chart.redraw();
    });
  }

  /** Replaces the history, after each connect. */
  replace(history: HistoryView): void {
    this.#history.replace(history);
  }

  /** Remembers a point, also while the page is hidden. */
  add(snapshot: DashboardSnapshot): void {
    this.#history.add(snapshot.point);
  }

  /** Each draws one chart, so that a browser can do something else in between. */
  get steps(): readonly (() => void)[] {
    const show = (chart: Chart) => () => chart.show(this.#history.times, this.#history.series);
    return [() => this.#showRange(), ...this.#charts.map(show)];
  }

  #showRange(): void {
    const { times } = this.#history;
    const seconds = times.length < 2 ? 0 : times.at(-1)! - times[0]!;
    const range = seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
    setText(byId('metrics-range'), times.length === 0 ? '' : `the last ${range}`);
  }
}
