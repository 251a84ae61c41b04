import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesOf, root, runCheck } from './lint/source.mjs';
import { headerEntries, nixlEntries, rustComments, singleExports, tableRows, usesIn } from './seam/native.mjs';
import { differences, partNames, signatureOf, takesLine } from './seam/signature.mjs';
import { declaredFunctions } from './seam/typescript.mjs';

const types = 'lib/addon/native';
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** `clientUnary` is `dyn_client_unary` of the core, `nixlAgentCreate` is `nixl::agent_create`. */
const entryNameOf = (name) =>
  /^nixl[A-Z]/.test(name) ? `nixl::${snake(name).slice('nixl_'.length)}` : `dyn_${snake(name)}`;

const form = (isAsync) => (isAsync ? 'asynchronous' : 'synchronous');

/** Whether the parts that an entry reads are those that its comment names. */
function entryFaults({ name, comment, uses }) {
  const signature = signatureOf(comment);
  if (signature === undefined) return [`${name}: expected a last line "Takes: ... Returns: ..." in its comment`];
  if (uses === undefined) return [`${name}: no source defines it`];
  const { parts } = signature;
  return [
    ...partNames
      .filter((part) => uses.read.has(part) && !(part in parts))
      .map((part) => `${name}: reads ${part}, which its comment does not name`),
    ...partNames
      .filter((part) => part in parts && !uses.read.has(part))
      .map((part) => `${name}: names ${part}, which it does not read`),
  ];
}

/** Whether the header has the line of the Rust source. */
function copyFaults(name, comment, entry) {
  const [original, copied] = [comment, entry?.comment ?? ''].map(signatureOf);
  if (original !== undefined && copied !== undefined && takesLine(original) === takesLine(copied)) return [];
  return [`${name}: its Takes line differs from the header; run \`npm run header\``];
}

/** Nouns that one entry reads as one type and another entry as another type. */
function nounFaults(entries) {
  const types = new Map();
  return entries.flatMap(({ name, comment, uses }) => {
    const { parts } = signatureOf(comment) ?? { parts: {} };
    return (uses?.types ?? []).flatMap(({ part, type }) => {
      const noun = parts[part]?.kind;
      if (noun === undefined || noun.includes('|')) return [];
      if (!types.has(noun)) types.set(noun, { type, name });
      const first = types.get(noun);
      return first.type === type
        ? []
        : [`${name}: ${part} ${noun} is a ${type}; in ${first.name} it is a ${first.type}`];
    });
  });
}

/** Whether a row of a table names the right entry, and its entry and its declaration agree. */
function rowFaults({ name, entry, isAsync }, declared, entries) {
  const faults = entryNameOf(name) === entry ? [] : [`${name}: expected the entry ${entryNameOf(name)}, got ${entry}`];
  const found = entries.get(entry);
  if (found === undefined) return [...faults, `${name}: no header declares ${entry}`];
  if (found.isAsync !== isAsync)
    faults.push(`${name}: ${form(isAsync)} in native/binding, ${form(found.isAsync)} in the header`);
  if (declared === undefined) return faults;
  if (declared.signature === undefined) return [...faults, `${name}: expected a Sync or an Async type in ${types}`];
  if (declared.isAsync !== isAsync)
    faults.push(`${name}: ${form(isAsync)} in native/binding, ${form(declared.isAsync)} in ${types}`);
  const signature = signatureOf(found.comment);
  if (signature === undefined) return faults;
  return [...faults, ...differences(declared.signature, signature, [types, entry]).map((one) => `${name}: ${one}`)];
}

/** Every difference between the native functions in TypeScript, the tables, the headers and the sources. */
export function drifts(seam) {
  const declared = new Map(seam.typescript.flatMap((text) => declaredFunctions(text)).map((one) => [one.name, one]));
  const uses = usesIn(seam);
  const entries = new Map(
    [...headerEntries(seam.header), ...nixlEntries(seam.nixlHeader)].map((one) => [
      one.name,
      { ...one, uses: uses.get(one.name) },
    ]),
  );
  const rows = seam.bindings.flatMap((text) => tableRows(text));
  const exported = new Set([...rows.map(({ name }) => name), ...seam.bindings.flatMap((text) => singleExports(text))]);
  const binding = seam.bindings.join('\n');

  const missing = (names, isThere, says) =>
    [...names].filter((name) => !isThere(name)).map((name) => `${name}: ${says}`);
  return [
    ...[...entries.values()].flatMap(entryFaults),
    ...nounFaults([...entries.values()]),
    ...rows.flatMap((row) => rowFaults(row, declared.get(row.name), entries)),
    ...missing(declared.keys(), (name) => exported.has(name), 'native/binding does not export it'),
    ...missing(exported, (name) => declared.has(name), `${types} does not declare it`),
    ...missing(entries.keys(), (name) => new RegExp(`\\b${name}\\b`).test(binding), 'native/binding does not use it'),
    ...[...rustComments(seam.rust)].flatMap(([name, comment]) => copyFaults(name, comment, entries.get(name))),
  ];
}

/** Reads the texts of a checkout. */
export function readSeam(checkout = root) {
  const text = (file) => readFileSync(join(checkout, file), 'utf8');
  const all = (folder, pattern) => filesOf(checkout, folder, pattern).map((file) => ({ file, text: text(file) }));
  return {
    typescript: [text('lib/addon/native.ts'), ...all('lib/addon/native', /\.ts$/).map((one) => one.text)],
    header: text('native/core/include/dynamo_core.h'),
    nixlHeader: text('native/nixl/entries.h'),
    bindings: all('native/binding', /\.cc$/).map((one) => one.text),
    rust: all('native/core/src', /\.rs$/).filter(({ file }) => !file.startsWith('native/core/src/abi/')),
    nixl: all('native/nixl', /\.cc$/).filter(({ file }) => !/\/(mock|test)\//.test(file)),
  };
}

runCheck(import.meta.url, () => drifts(readSeam()));
