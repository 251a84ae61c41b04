import type { CommandIo } from './command.js';
import type { CliFailure } from './failure.js';

/** Writes one line to the standard output. */
export function print(io: CommandIo, line = ''): void {
  io.stdout.write(`${line}\n`);
}

/** Writes one line to the standard error: progress, notes and warnings. */
export function note(io: CommandIo, line: string): void {
  io.stderr.write(`${line}\n`);
}

/** Writes the result of `--json`: one value on one line. A bigint becomes a string. */
export function printJson(io: CommandIo, value: unknown): void {
  print(
    io,
    JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? String(each) : each)),
  );
}

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;

/** The name of a style of text on a terminal. */
export type Style = keyof typeof STYLES;

/** Whether colours are welcome: on a terminal, unless `$NO_COLOR` is set. */
export function hasColour({ isTerminal, env }: CommandIo): boolean {
  return isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

/** The text in a style, or unchanged if colours are not welcome. */
export function styled(io: CommandIo, style: Style, text: string): string {
  return hasColour(io) ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text;
}

const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** The text without characters that move the cursor or change the terminal. Names and reasons are data of others. */
export const plainText = (text: string): string => text.replace(CONTROLS, '\u{fffd}');

/** The same for a text of several lines. */
const plainLines = (text: string): string => text.replace(/[^\n\t]+/g, plainText);

const ESCAPES = /\x1b\[[\d;]*m/g;

/** The number of characters that are seen. */
export function widthOf(text: string): number {
  return [...text.replace(ESCAPES, '')].length;
}

/** The text in at most `width` characters. The last one is an ellipsis if something is cut off. Removes styles then. */
export function clipped(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  return `${[...text.replace(ESCAPES, '')].slice(0, Math.max(0, width - 1)).join('')}…`;
}

/**
 * Rows as columns of equal width, each line at most `columns` characters wide on a terminal. Without a terminal nothing
 * is cut off.
 */
export function tableLines(io: CommandIo, rows: readonly (readonly string[])[], header?: readonly string[]): string[] {
  const all = header === undefined ? rows : [header, ...rows];
  const count = Math.max(0, ...all.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, index) =>
    Math.max(0, ...all.map((row) => widthOf(row[index] ?? ''))),
  );
  return all.map((row) => {
    const cells = row.map((cell, index) => cell + ' '.repeat(Math.max(0, (widths[index] ?? 0) - widthOf(cell))));
    const line = cells.join('  ').trimEnd();
    return io.isTerminal ? clipped(line, io.columns) : line;
  });
}

/** Writes an error as text, or as one JSON object. */
export function printFailure(io: CommandIo, { exitCode: _, ...failure }: CliFailure, json: boolean): void {
  if (json) return note(io, JSON.stringify(failure));
  const { code, message, hint, path } = failure;
  note(io, `${styled(io, 'red', `error[${code}]`)}: ${plainLines(message)}`);
  if (path !== undefined && !message.includes(path)) note(io, `  at: ${plainText(path)}`);
  if (hint !== undefined) note(io, `  ${styled(io, 'cyan', 'hint')}: ${plainLines(hint)}`);
}

const MIN_WRAPPED = 16;

/** Text in lines that end before the edge of a terminal; those after the first begin with `indent` spaces. */
export function wrapped(io: CommandIo, text: string, indent: number): string[] {
  const width = io.isTerminal ? Math.max(MIN_WRAPPED, io.columns - indent) : Number.POSITIVE_INFINITY;
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((each, index) => (index === 0 ? each : `${' '.repeat(indent)}${each}`));
}
