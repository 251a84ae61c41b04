import {
  type Box,
  bottomAxis,
  decadesOf,
  escaped,
  leftAxis,
  linear,
  logarithmic,
  polygon,
  polyline,
  px,
  type Scale,
  textAt,
  ticksOf,
} from './svg.js';

/** A fleet in a diagram. */
export interface PlottedRun {
  readonly name: string;
  readonly kind: 'planner' | 'rule' | 'static';
  /** The share of requests within the limits, 0 to 1. */
  readonly goodput: number;
  readonly gpuHours: number;
  /** When the number of workers changed, and to what. Of a run that is only a point of the comparison: absent. */
  readonly workers?: readonly { readonly atMs: number; readonly count: number }[];
  /** When requests arrived and how long they waited for their first token. */
  readonly latencies?: readonly { readonly atMs: number; readonly ttftMs: number }[];
}

/** What a diagram shows. */
export interface PlotOptions {
  readonly title: string;
  readonly durationMs: number;
  /** When requests arrived. */
  readonly arrivalsMs: readonly number[];
  /** The limit of the time to first token. */
  readonly ttftMs: number;
  readonly runs: readonly PlottedRun[];
}

const WIDTH = 960;
const LEFT = 72;
const RIGHT = 190;
const PANEL = { width: WIDTH - LEFT - RIGHT, x: LEFT };
/** Parts of the time for which rates and latencies are shown. */
const BINS = 90;
/** Colours that differ for people with any colour vision. Source: Okabe and Ito, 2008. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'] as const;
const DASHES = ['', '7 3', '2 2', '9 3 2 3', '4 4', '1 3'] as const;

/** The height of a line of text. */
const LINE = 14;

const STYLE = `
  svg { background: #fff; font: 12px system-ui, sans-serif; }
  text { fill: #1a1a1a; } .title { font-size: 16px; font-weight: 600; } .panel { font-weight: 600; }
  .tick { fill: #555; } .grid { stroke: #e3e3e3; } .axis { stroke: #888; }
  .load { fill: #b8c4d0; } .limit { stroke: #1a1a1a; stroke-dasharray: 5 4; } .static { fill: none; stroke: #777; }
  .front { stroke: #aaa; fill: none; }
  @media (prefers-color-scheme: dark) {
    svg { background: #14171a; } text { fill: #e8e8e8; } .tick { fill: #a8a8a8; } .grid { stroke: #2c3136; }
    .load { fill: #45525e; } .limit { stroke: #e8e8e8; } .static { stroke: #9a9a9a; }
  }`;

interface Panel {
  readonly box: Box;
  readonly atMs: Scale;
}

const seconds = (ms: number): string => `${ms / 1000} s`;

/** What the lines of a run look like: static fleets are grey. */
function strokeOf(runs: readonly PlottedRun[], run: PlottedRun): string {
  if (run.kind === 'static') return 'class="static" stroke-width="1.5"';
  const index = runs.filter(({ kind }) => kind !== 'static').indexOf(run);
  const dash = DASHES[index % DASHES.length];
  const colour = COLOURS[index % COLOURS.length];
  return `stroke="${colour}" stroke-width="2"${dash === '' ? '' : ` stroke-dasharray="${dash}"`}`;
}

const fillOf = (runs: readonly PlottedRun[], run: PlottedRun): string => {
  const index = runs.filter(({ kind }) => kind !== 'static').indexOf(run);
  return COLOURS[index % COLOURS.length] as string;
};

/** Labels beside the ends of lines, moved apart where they would overlap. */
function endLabels(
  box: Box,
  ends: readonly { readonly y: number; readonly name: string; readonly stroke: string }[],
): string {
  const left = box.x + box.width + 8;
  const sorted = [...ends].sort((a, b) => a.y - b.y);
  const places: number[] = [];
  for (const { y } of sorted) places.push(Math.max(y, (places.at(-1) ?? Number.NEGATIVE_INFINITY) + LINE));
  let below = box.y + box.height + LINE;
  for (let index = places.length - 1; index >= 0; index--)
    below = places[index] = Math.min(places[index] as number, below - LINE);
  return sorted
    .map(({ name, stroke }, index) => {
      const y = places[index] as number;
      const sample = `<line x1="${left}" x2="${left + 22}" y1="${px(y)}" y2="${px(y)}" ${stroke}/>`;
      return sample + textAt(left + 28, y + 4, name);
    })
    .join('\n');
}

function loadPanel({ box, atMs }: Panel, { arrivalsMs, durationMs }: PlotOptions): string {
  const binMs = durationMs / BINS;
  const counts = new Array<number>(BINS).fill(0);
  for (const at of arrivalsMs) {
    const bin = Math.min(BINS - 1, Math.floor(at / binMs));
    counts[bin] = (counts[bin] as number) + 1;
  }
  const rates = counts.map((count) => (count * 1000) / binMs);
  const most = Math.max(1e-3, ...rates);
  const y = linear(0, most, box.y + box.height, box.y);
  const top = rates.flatMap((rate, index): [number, number][] => [
    [atMs(index * binMs), y(rate)],
    [atMs((index + 1) * binMs), y(rate)],
  ]);
  const bottom = box.y + box.height;
  const area = polygon([[box.x, bottom], ...top, [box.x + box.width, bottom]], 'class="load"');
  return [leftAxis(box, y, ticksOf(0, most, 3), String), area].join('\n');
}

function workersPanel({ box, atMs }: Panel, { runs, durationMs }: PlotOptions): string {
  const drawn = runs.filter(({ workers }) => workers !== undefined);
  const most = Math.max(1, ...drawn.flatMap(({ workers = [] }) => workers.map(({ count }) => count)));
  const y = linear(0, most, box.y + box.height, box.y);
  const lines = drawn.map((run) => {
    const { workers = [] } = run;
    const shown = (at: number): number => atMs(Math.min(at, durationMs));
    const points = workers.flatMap(({ atMs: at, count }, index): [number, number][] => [
      [shown(at), y(count)],
      [shown(workers[index + 1]?.atMs ?? durationMs), y(count)],
    ]);
    return polyline(points, strokeOf(runs, run));
  });
  const ends = drawn.map((run) => ({
    name: run.name,
    stroke: strokeOf(runs, run),
    y: y(run.workers?.findLast(({ atMs: at }) => at <= durationMs)?.count ?? 0),
  }));
  const counts = ticksOf(0, most, 4).filter(Number.isInteger);
  return [leftAxis(box, y, counts, String), ...lines, endLabels(box, ends)].join('\n');
}

/** The longest wait of each part of the time; undefined without requests. */
function longestWaits({ latencies = [] }: PlottedRun, durationMs: number): (number | undefined)[] {
  const longest = new Array<number | undefined>(BINS).fill(undefined);
  for (const { atMs, ttftMs } of latencies) {
    const bin = Math.min(BINS - 1, Math.floor((atMs / durationMs) * BINS));
    longest[bin] = Math.max(longest[bin] ?? 0, ttftMs);
  }
  return longest;
}

function latencyPanel({ box, atMs }: Panel, { runs, durationMs, ttftMs }: PlotOptions): string {
  const drawn = runs.filter(({ latencies }) => latencies !== undefined);
  const waits = drawn.map((run) => longestWaits(run, durationMs));
  const known = waits.flat().filter((wait) => wait !== undefined);
  const from = 10 ** Math.floor(Math.log10(Math.max(1, Math.min(ttftMs, ...known))));
  const to = 10 ** Math.ceil(Math.log10(Math.max(10 * from, ttftMs, ...known)));
  const y = logarithmic(from, to, box.y + box.height, box.y);
  const binMs = durationMs / BINS;
  const lines = drawn.map((run, index) => {
    const points = (waits[index] ?? []).flatMap((wait, bin): [number, number][] =>
      wait === undefined ? [] : [[atMs((bin + 0.5) * binMs), y(wait)]],
    );
    return polyline(points, strokeOf(runs, run));
  });
  const limit = y(ttftMs);
  const right = box.x + box.width;
  const label = (ms: number): string => (ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`);
  return [
    leftAxis(box, y, decadesOf(from, to), label),
    ...lines,
    `<line class="limit" x1="${box.x}" x2="${right}" y1="${px(limit)}" y2="${px(limit)}"/>`,
    textAt(right + 8, limit + 4, `limit ${label(ttftMs)}`),
  ].join('\n');
}

/** Half the size of a marker. */
const MARKER = 5;

function marker(runs: readonly PlottedRun[], run: PlottedRun, x: number, y: number): string {
  const figures = `${run.name}: ${(run.goodput * 100).toFixed(1)}%, ${run.gpuHours.toFixed(3)}`;
  const title = `<title>${escaped(figures)}</title>`;
  if (run.kind === 'static') return `<circle class="static" cx="${px(x)}" cy="${px(y)}" r="4">${title}</circle>`;
  const points =
    run.kind === 'planner'
      ? [
          [x, y - MARKER],
          [x + MARKER, y],
          [x, y + MARKER],
          [x - MARKER, y],
        ]
      : [
          [x, y - MARKER],
          [x + MARKER, y + MARKER],
          [x - MARKER, y + MARKER],
        ];
  const shape = points.map(([left, top]) => `${px(left as number)},${px(top as number)}`).join(' ');
  return `<polygon points="${shape}" fill="${fillOf(runs, run)}">${title}</polygon>`;
}

/** GPU-hours and goodput of all runs. Up and to the left is better. */
function comparisonPanel(box: Box, { runs }: PlotOptions): string {
  const most = Math.max(...runs.map(({ gpuHours }) => gpuHours)) * 1.08;
  const least = Math.min(...runs.map(({ goodput }) => goodput)) * 100;
  const from = least > 90 ? 90 : least > 50 ? 50 : 0;
  const x = linear(0, most, box.x, box.x + box.width);
  const y = linear(from, 100, box.y + box.height, box.y);
  const place = (run: PlottedRun): [number, number] => [x(run.gpuHours), y(run.goodput * 100)];
  const fleets = runs.filter(({ kind }) => kind === 'static').sort((a, b) => a.gpuHours - b.gpuHours);
  const labels: { x: number; y: number; name: string }[] = [];
  const isFree = (at: { x: number; y: number; name: string }): boolean =>
    labels.every(
      ({ x, y, name }) => Math.abs(y - at.y) >= 13 || x + 6.5 * name.length < at.x || at.x + 6.5 * at.name.length < x,
    );
  for (const run of [...runs].sort((a, b) => Number(a.kind === 'static') - Number(b.kind === 'static'))) {
    const [left, top] = place(run);
    const offsets = [4, 18, -10, 32, -24];
    const found = offsets
      .map((offset) => ({ x: left + 9, y: top + offset, name: run.name.replace(/^static /, '') }))
      .find(isFree);
    if (found !== undefined) labels.push(found);
  }
  return [
    leftAxis(box, y, ticksOf(from, 100, 5), (value) => `${value}%`),
    bottomAxis(box, x, ticksOf(0, most, 8), String),
    fleets.length > 1 ? polyline(fleets.map(place), 'class="front"') : '',
    ...runs.map((run) => marker(runs, run, ...place(run))),
    ...labels.map((label) => textAt(label.x, label.y, label.name)),
  ].join('\n');
}

/**
 * A diagram of a comparison as SVG: the load, the workers of each fleet, the longest wait for a first token, and
 * GPU-hours beside goodput. It has a light and a dark form, and needs no other file.
 */
export function plotRuns(options: PlotOptions): string {
  const { title, durationMs, runs } = options;
  const panels = [
    { name: 'Requests per second', height: 90, draw: loadPanel, isKnown: true },
    { name: 'Workers', height: 150, draw: workersPanel, isKnown: runs.some((run) => run.workers !== undefined) },
    {
      name: 'Longest wait for a first token',
      height: 150,
      draw: latencyPanel,
      isKnown: runs.some((run) => run.latencies !== undefined),
    },
  ];
  const parts = [textAt(LEFT, 28, title, 'class="title"')];
  let y = 66;
  for (const { name, height, draw, isKnown } of panels) {
    if (!isKnown) continue;
    const box = { ...PANEL, y, height };
    const atMs = linear(0, durationMs, box.x, box.x + box.width);
    parts.push(textAt(LEFT, y - 10, name, 'class="panel"'), draw({ box, atMs }, options));
    parts.push(bottomAxis(box, atMs, ticksOf(0, durationMs, 9), seconds));
    y += height + 58;
  }
  const box = { ...PANEL, y, height: 220 };
  parts.push(textAt(LEFT, y - 10, 'Requests within the limits', 'class="panel"'), comparisonPanel(box, options));
  parts.push(textAt(LEFT + PANEL.width / 2, y + box.height + 36, 'GPU-hours', 'text-anchor="middle"'));
  const height = y + box.height + 52;
  const label = runs.map(
    ({ name, goodput, gpuHours }) => `${name} ${(goodput * 100).toFixed(1)}%, ${gpuHours.toFixed(3)} GPU-hours`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title desc">`,
    `<title id="title">${escaped(title)}</title>`,
    `<desc id="desc">${escaped(label.join('; '))}</desc>`,
    `<style>${STYLE}\n</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}
