import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Machine } from './machine.js';
import type { Goal, Measured } from './result.js';

/** A result file of `bench/results`. */
export interface Recorded extends Pick<Measured, 'settings' | 'figures' | 'goals' | 'columns' | 'rows'> {
  readonly name: string;
  readonly date: string;
  readonly tookSeconds: number;
  readonly machine: Machine;
  readonly load: { readonly before: number; readonly after: number };
  readonly versions: Readonly<Record<string, string>>;
}

const BEGIN = '<!-- results -->';
const END = '<!-- end of results -->';

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function mark({ met }: Goal): string {
  return met === 'not measured' ? met : met ? 'met' : 'missed';
}

function goalTable(goals: readonly Goal[]): string[] {
  if (goals.length === 0) return [];
  const rows = goals.map((goal) => line([goal.goal, goal.got, mark(goal)]));
  return [line(['Goal', 'Got', '']), line(['---', '---', '---']), ...rows, ''];
}

function section({ name, date, machine, load, versions, columns, rows, goals }: Recorded): string {
  const where = `${date.slice(0, 10)}, ${machine.cores} cores of ${machine.cpu}, Node.js ${versions['node']}`;
  const loads = `load before and after ${load.before} and ${load.after}`;
  return [
    `### ${name}`,
    '',
    `${where}, ${loads}.`,
    '',
    line(['', ...columns]),
    line(['---', ...columns.map(() => '---:')]),
    ...rows.map(({ what, cells }) => line([what, ...cells])),
    '',
    ...goalTable(goals),
    `![${name}](results/${name}.svg)`,
  ].join('\n');
}

/** Writes the recorded results between the markers of `bench/README.md`. */
export function writeReadme(folder: string, names: readonly string[]): void {
  const recorded = names
    .map((name) => `${folder}results/${name}.json`)
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as Recorded);
  const path = `${folder}README.md`;
  const text = readFileSync(path, 'utf8');
  const [before, after] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (before < 0 || after < before) throw new Error(`${path}: expected ${BEGIN} and ${END}`);
  writeFileSync(
    path,
    `${text.slice(0, before + BEGIN.length)}\n\n${recorded.map(section).join('\n\n')}\n\n${text.slice(after)}`,
  );
}
