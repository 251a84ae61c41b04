import type { Spread } from './stats.js';

export interface Chart {
  readonly title: string;
  readonly logarithmic: boolean;
  readonly series: readonly string[];
  readonly groups: readonly {
    /** The lines of the label. */
    readonly name: readonly string[];
    /** One for each series. The spread is a line over the bar. */
    readonly values: readonly (Spread | undefined)[];
  }[];
}

/** As many as the most series of a chart. */
const COLOURS = ['#3f8f29', '#8ac26b', '#35618f', '#7fb0dc', '#8f4a8f', '#d98b2b', '#5a5a5a'];
const WIDTH = 960;
const PANEL = 340;
const AREA = { left: 70, right: 20, top: 66, bottom: 52 };
const LEGEND = { top: 36, line: 18, box: 11, gap: 18, letter: 6.6 };
const TICKS = 5;

function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}

function text(x: number, y: number, content: string, anchor = 'middle', attributes = ''): string {
  const at = `x="${x.toFixed(1)}" y="${y.toFixed(1)}"`;
  return `<text ${at} text-anchor="${anchor}" ${attributes}>${escapeXml(content)}</text>`;
}

/** Positions of values: 0 at the bottom of the area, 1 at the top. */
function scale({ logarithmic, groups }: Chart): { at(value: number): number; ticks: number[] } {
  const all = groups.flatMap(({ values }) =>
    values.flatMap((value) => (value === undefined ? [] : [value.min, value.max])),
  );
  const highest = Math.max(...all, Number.MIN_VALUE);
  if (logarithmic) {
    const low = Math.floor(Math.log10(Math.min(...all)));
    const high = Math.ceil(Math.log10(highest));
    return {
      at: (value) => (Math.log10(value) - low) / Math.max(high - low, 1),
      ticks: Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index)),
    };
  }
  const step = 10 ** Math.floor(Math.log10(highest / TICKS));
  const nice = [1, 2, 5, 10].map((factor) => factor * step).find((candidate) => highest / candidate <= TICKS) as number;
  const count = Math.ceil(highest / nice);
  return {
    at: (value) => value / (nice * count),
    ticks: Array.from({ length: count + 1 }, (_, index) => index * nice),
  };
}

function number(value: number): string {
  if (value >= 1e6) return `${value / 1e6}M`;
  if (value >= 1e3) return `${value / 1e3}k`;
  return String(Number(value.toPrecision(3)));
}

/** Where the names of series are: as many in a line as fit. A chart of one series has its title alone. */
function legendOf({ series }: Chart): { name: string; x: number; line: number }[] {
  if (series.length === 1) return [];
  let x = AREA.left;
  let line = 0;
  return series.map((name) => {
    const width = LEGEND.box + LEGEND.gap + name.length * LEGEND.letter;
    if (x > AREA.left && x + width > WIDTH - AREA.right) {
      x = AREA.left;
      line += 1;
    }
    const at = { name, x, line };
    x += width;
    return at;
  });
}

/** The height of a chart grows with its legend. */
const heightOf = (chart: Chart): number => PANEL + (legendOf(chart).at(-1)?.line ?? 0) * LEGEND.line;

function panel(chart: Chart, top: number): string {
  const { at, ticks } = scale(chart);
  const width = WIDTH - AREA.left - AREA.right;
  const height = PANEL - AREA.top - AREA.bottom;
  const bottom = top + heightOf(chart) - AREA.bottom;
  const y = (value: number): number => bottom - Math.max(0, at(value)) * height;
  const parts = [text(AREA.left, top + 24, chart.title, 'start', 'font-size="15" font-weight="bold"')];
  for (const [index, { name, x, line }] of legendOf(chart).entries()) {
    const y = top + LEGEND.top + line * LEGEND.line;
    const box = `width="${LEGEND.box}" height="${LEGEND.box}"`;
    parts.push(`<rect x="${x.toFixed(1)}" y="${y}" ${box} fill="${COLOURS[index % COLOURS.length]}"/>`);
    parts.push(text(x + LEGEND.box + 5, y + 10, name, 'start'));
  }
  for (const tick of ticks) {
    parts.push(`<line x1="${AREA.left}" x2="${WIDTH - AREA.right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#d8d8d8"/>`);
    parts.push(text(AREA.left - 8, y(tick) + 4, number(tick), 'end'));
  }
  const groupWidth = width / chart.groups.length;
  const bar = Math.min(40, (groupWidth * 0.8) / chart.series.length);
  for (const [place, { name, values }] of chart.groups.entries()) {
    const middle = AREA.left + groupWidth * (place + 0.5);
    name.forEach((line, index) => parts.push(text(middle, bottom + 18 + index * 15, line)));
    for (const [index, value] of values.entries()) {
      if (value === undefined) continue;
      const left = middle + (index - values.length / 2) * bar;
      const colour = COLOURS[index % COLOURS.length];
      const [median, min, max] = [y(value.median), y(value.min), y(value.max)];
      const corner = `x="${left.toFixed(1)}" y="${median.toFixed(1)}"`;
      const size = `width="${(bar - 1).toFixed(1)}" height="${(bottom - median).toFixed(1)}"`;
      parts.push(`<rect ${corner} ${size} fill="${colour}"/>`);
      const centre = (left + (bar - 1) / 2).toFixed(1);
      const ends = `x1="${centre}" x2="${centre}" y1="${min.toFixed(1)}" y2="${max.toFixed(1)}"`;
      parts.push(`<line ${ends} stroke="#333" stroke-width="1.2"/>`);
    }
  }
  return parts.join('\n');
}

/** The charts as SVG, one below the other. */
export function svg(charts: readonly Chart[], caption: string): string {
  const tops = charts.map((_, index) => charts.slice(0, index).reduce((sum, chart) => sum + heightOf(chart), 0));
  const height = charts.reduce((sum, chart) => sum + heightOf(chart), 30);
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="12" fill="#222">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    ...charts.map((chart, index) => panel(chart, tops[index] as number)),
    text(AREA.left, height - 10, caption, 'start', 'fill="#666"'),
    '</svg>',
    '',
  ].join('\n');
}
