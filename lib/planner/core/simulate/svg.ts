/** Pieces of a diagram as SVG. */

/** A place in pixels. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Text that cannot end the element it is in. */
export const escaped = (text: string): string => text.replace(/[&<>"]/g, (letter) => ESCAPES[letter] as string);

/** A number with as many digits as a diagram of this size shows. */
export const px = (value: number): string => String(Math.round(value * 10) / 10);

/** Values to pixels. */
export type Scale = (value: number) => number;

export const linear =
  (from: number, to: number, start: number, end: number): Scale =>
  (value) =>
    start + ((value - from) / Math.max(1e-12, to - from)) * (end - start);

export const logarithmic = (from: number, to: number, start: number, end: number): Scale => {
  const scale = linear(Math.log10(from), Math.log10(to), start, end);
  return (value) => scale(Math.log10(Math.min(to, Math.max(from, value))));
};

/** Round values from `from` to `to`, about `count` of them. */
export function ticksOf(from: number, to: number, count: number): number[] {
  const rough = Math.max(1e-9, to - from) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough) ?? rough;
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** The powers of 10 from `from` to `to`. */
export function decadesOf(from: number, to: number): number[] {
  const first = Math.ceil(Math.log10(from) - 1e-9);
  const last = Math.floor(Math.log10(to) + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}

export const textAt = (x: number, y: number, content: string, attributes = ''): string =>
  `<text x="${px(x)}" y="${px(y)}"${attributes === '' ? '' : ` ${attributes}`}>${escaped(content)}</text>`;

const pointsOf = (points: readonly (readonly [number, number])[]): string =>
  points.map(([x, y]) => `${px(x)},${px(y)}`).join(' ');

export const polyline = (points: readonly (readonly [number, number])[], attributes: string): string =>
  `<polyline fill="none" points="${pointsOf(points)}" ${attributes}/>`;

export const polygon = (points: readonly (readonly [number, number])[], attributes: string): string =>
  `<polygon points="${pointsOf(points)}" ${attributes}/>`;

/** An axis on the left of a box, with a line at each tick. */
export function leftAxis(box: Box, scale: Scale, ticks: readonly number[], label: (value: number) => string): string {
  return ticks
    .map((tick) => {
      const y = scale(tick);
      const line = `<line class="grid" x1="${box.x}" x2="${box.x + box.width}" y1="${px(y)}" y2="${px(y)}"/>`;
      return line + textAt(box.x - 8, y + 4, label(tick), 'class="tick" text-anchor="end"');
    })
    .join('\n');
}

/** An axis below a box. */
export function bottomAxis(box: Box, scale: Scale, ticks: readonly number[], label: (value: number) => string): string {
  const bottom = box.y + box.height;
  const axis = `<line class="axis" x1="${box.x}" x2="${box.x + box.width}" y1="${bottom}" y2="${bottom}"/>`;
  const labels = ticks.map((tick) =>
    textAt(scale(tick), bottom + 16, label(tick), 'class="tick" text-anchor="middle"'),
  );
  return [axis, ...labels].join('\n');
}
