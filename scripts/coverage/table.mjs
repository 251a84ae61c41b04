const percent = ({ covered, total }) => `${((100 * covered) / total).toFixed(1)}%`;

/** `lib/runtime` for a file of lib/runtime/, `native/core` for one of native/core/src/, and so on. */
function areaOf(file) {
  const [first, second, ...rest] = file.split('/');
  return rest.length === 0 ? first : `${first}/${second}`;
}

function sumOf(lines) {
  const sum = { covered: 0, total: 0 };
  for (const { covered, total } of lines) {
    sum.covered += covered;
    sum.total += total;
  }
  return sum;
}

const row = (name, lines) => `${name.padEnd(20)}${String(lines.total).padStart(8)}${percent(lines).padStart(8)}`;

/** The lines of each area, of lib and native, and of all. `files` is a Map from a file to `{ covered, total }`. */
export function tableOf(files) {
  const areas = new Map();
  for (const [file, lines] of files) areas.set(areaOf(file), [...(areas.get(areaOf(file)) ?? []), lines]);
  const rows = [...areas].sort(([a], [b]) => a.localeCompare(b));
  return [
    `${'area'.padEnd(20)}${'lines'.padStart(8)}${'covered'.padStart(8)}`,
    ...rows.map(([area, lines]) => row(area, sumOf(lines))),
    row('all', sumOf(files.values())),
  ].join('\n');
}

/** The files of at least `minLines` lines of which the smallest part is covered; of equal ones the longest first. */
export function leastCovered(files, count = 10, minLines = 10) {
  return [...files]
    .filter(([, { total }]) => total >= minLines)
    .sort(([, a], [, b]) => a.covered / a.total - b.covered / b.total || b.total - a.total)
    .slice(0, count)
    .map(([file, lines]) => `${percent(lines).padStart(8)}  ${file} (${lines.total} lines)`)
    .join('\n');
}
