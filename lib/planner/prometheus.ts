/** One sample of Prometheus's text format. */
export interface MetricSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*$/;
const LABEL = /[ \t]*([A-Za-z_]\w*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|$)/gy;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', '"': '"', '\\': '\\' };

function numberOf(text: string): number {
  const infinite = /^([+-]?)Inf$/.exec(text);
  return infinite === null ? Number(text) : infinite[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(LABEL))
    labels[name as string] = (value as string).replace(/\\(.)/g, (_, letter: string) => ESCAPES[letter] ?? letter);
  return labels;
}

/**
 * Reads Prometheus's text format. Comments, and lines that are no samples, are skipped.
 *
 * @param isWanted selects by name, before the labels are read
 */
export function parseMetrics(text: string, isWanted: (name: string) => boolean = () => true): MetricSample[] {
  const samples: MetricSample[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const [, name, labels = '', value] = SAMPLE.exec(line) ?? [];
    if (name === undefined || value === undefined || !isWanted(name)) continue;
    samples.push({ name, labels: labelsOf(labels), value: numberOf(value) });
  }
  return samples;
}
