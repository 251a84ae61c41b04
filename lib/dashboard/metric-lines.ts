import { type MetricSample, parseMetrics } from '../planner/prometheus.js';

const [HASH, BRACE, SPACE, TAB] = [0x23, 0x7b, 0x20, 0x09];

const endsName = (code: number): boolean => code === BRACE || code === SPACE || code === TAB;

/**
 * The wanted lines of a text of Prometheus, of which a frontend has thousands. Calls `take` with each. The lines of a
 * metric follow each other, so most names are those of the line before and are not read.
 */
export function eachWantedLine(
  text: string,
  isWanted: (name: string) => boolean,
  take: (name: string, line: string) => void,
): void {
  let name = '';
  let isTaken = false;
  for (let begin = 0; begin < text.length; ) {
    const newline = text.indexOf('\n', begin);
    const end = newline === -1 ? text.length : newline;
    if (text.charCodeAt(begin) !== HASH) {
      if (!text.startsWith(name, begin) || !endsName(text.charCodeAt(begin + name.length))) {
        let at = begin;
        while (at < end && !endsName(text.charCodeAt(at))) at++;
        name = text.slice(begin, at);
        isTaken = isWanted(name);
      }
      if (isTaken) take(name, text.slice(begin, end));
    }
    begin = end + 1;
  }
}

/** The wanted samples of a text of Prometheus. Their names are looked up before a line is parsed. */
export function samplesOf(text: string, isWanted: (name: string) => boolean): MetricSample[] {
  const lines: string[] = [];
  eachWantedLine(text, isWanted, (_, line) => lines.push(line));
  return parseMetrics(lines.join('\n'));
}

/**
 * The value of a label of a line that has no escapes in it, else undefined. A quote within the value of another label
 * is escaped, so nothing in it looks like a label.
 */
export function labelIn(line: string, name: string): string | undefined {
  const at = line.indexOf(`${name}="`);
  if (at < 1 || !'{, '.includes(line.charAt(at - 1))) return undefined;
  const begin = at + name.length + 2;
  const value = line.slice(begin, line.indexOf('"', begin));
  return value.includes('\\') ? undefined : value;
}

/** The value of a line without a time after it. */
export const valueIn = (line: string): number => Number(line.slice(line.lastIndexOf(' ') + 1));
