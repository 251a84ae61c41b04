import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { cyclesOf } from './lint/cycles.mjs';
import { filesOf, importsOf, lineOf, parse, root, runCheck, targetOf, walk } from './lint/source.mjs';

/**
 * The rooms of lib/, lowest first. A file imports its own room or rooms of a lower row. `ground` is every file directly
 * in lib/ except `errors.ts` and `index.ts`.
 */
export const order = [
  ['errors'],
  ['ground'],
  ['addon'],
  ['runtime'],
  ['nixl'],
  ['kvbm'],
  ['router'],
  ['llm'],
  ['vllm', 'disagg'],
  ['sdk'],
  ['planner'],
  ['deploy'],
  ['dashboard'],
  ['cli'],
  ['index', 'testing'],
];

/** Files that decide and do nothing else: they run on any platform, without the addon, and give the same twice. */
const pure = [/^[^/]+(?<!^index)\.ts$/, /^sdk\/(?!host[./])/, /^planner\/core\//];
const pureFiles = [
  'deploy/kubernetes/manifest.ts',
  ...['counters', 'history', 'inputs', 'routing-view', 'services', 'snapshot', 'trace-spans', 'view'].map(
    (name) => `dashboard/${name}.ts`,
  ),
];

/** Global names that a pure file may not use. */
const impureNames = new Set([
  'process',
  'performance',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'fetch',
  'require',
]);

/** Folders whose files may refer to each other's types in a circle: owner pointers. */
const typeCyclesAllowed = ['lib/nixl/'];

/** Folders of native/ with what no file in them may include. */
const forbiddenIncludes = {
  core: /napi\.h|node_api\.h|nixl/,
  nixl: /napi\.h|node_api\.h|dynamo_core\.h/,
};

const includes = /^\s*#\s*include\s*[<"]([^>"]+)[>"]/gm;

function roomOf(file) {
  const [first, ...rest] = file.split('/');
  if (rest.length > 0) return first;
  const name = first.replace(/\.ts$/, '');
  return name === 'errors' || name === 'index' ? name : 'ground';
}

const rowOf = (room) => order.findIndex((rooms) => rooms.includes(room));

/** Whether a file of lib/ is on the list of the pure ones. */
export const isPure = (file) => pure.some((pattern) => pattern.test(file)) || pureFiles.includes(file);

/**
 * Why a file of lib/ may not import something, or undefined; the path is relative to lib/. `isType`: the import is only
 * of types, so nothing of it is left when the file runs.
 */
export function breachOfImport(file, specifier, isType = false) {
  const from = roomOf(file);
  if (rowOf(from) === -1) return `lib/${file}: the room '${from}' is not in the order of scripts/check-layers.mjs`;
  if (specifier === 'node-gyp-build' && from !== 'addon') return `lib/${file}: only lib/addon may load the addon`;
  if (!specifier.startsWith('.'))
    return isPure(file) && !isType ? `lib/${file}: a pure file may not import '${specifier}'` : undefined;

  const target = targetOf(file, specifier);
  const to = roomOf(target);
  if (to !== from && rowOf(to) >= rowOf(from)) return `lib/${file}: ${from} may not import ${to}`;
  if (isPure(file) && !isType && !isPure(target))
    return `lib/${file}: a pure file may not import lib/${target}, which is not`;
  const diagnosis = 'nixl/diagnosis/';
  if (from === 'nixl' && target.startsWith(diagnosis) && !file.startsWith(diagnosis))
    return `lib/${file}: nixl may not import nixl/diagnosis`;
  return undefined;
}

const isPropertyName = (node) => ts.isPropertyAccessExpression(node.parent) && node.parent.name === node;

/** Every use of a clock, a timer or the process in a parsed pure file. */
export function impurities(source) {
  const found = [];
  walk(source, (node) => {
    const isClock =
      (ts.isPropertyAccessExpression(node) && node.getText(source) === 'Date.now') ||
      (ts.isNewExpression(node) && node.expression.getText(source) === 'Date' && !node.arguments?.length);
    const isImpure = ts.isIdentifier(node) && impureNames.has(node.text) && !isPropertyName(node);
    if (isClock || isImpure)
      found.push(`${source.fileName}:${lineOf(source, node)}: a pure file may not use ${node.getText(source)}`);
  });
  return found;
}

/** Why a file of native/FOLDER may not include a header, or undefined. */
export function breachOfInclude(folder, file, header) {
  return forbiddenIncludes[folder]?.test(header) ? `native/${folder}/${file}: may not include ${header}` : undefined;
}

/**
 * The circles among files: of values, and of types if they are not allowed. `files` has the imports of each file. A
 * lazy import closes no circle: it happens when both files are loaded.
 */
export function circles(files) {
  const graphOf = (accepts) =>
    new Map(
      [...files].map(([file, imports]) => [
        file,
        imports
          .filter((one) => !one.isLazy && accepts(one))
          .flatMap(({ specifier }) => {
            const target = specifier.startsWith('.') ? targetOf(file, specifier) : undefined;
            return files.has(target) ? [target] : [];
          }),
      ]),
    );
  const isAllowed = (cycle) => typeCyclesAllowed.some((folder) => cycle.every((file) => file.startsWith(folder)));
  const say = (kind) => (cycle) => `a circle of ${kind}: ${cycle.join(', ')}`;

  const values = cyclesOf(graphOf(({ isType }) => !isType)).map(say('imports'));
  const types = cyclesOf(graphOf(() => true)).filter((cycle) => !isAllowed(cycle));
  return values.length > 0 ? values : types.map(say('types'));
}

/** Every breach of the dependency rule in a checkout. */
export function breaches(checkout = root) {
  const parsed = (folder) => filesOf(checkout, folder, /(?<!\.d)\.ts$/).map((file) => [file, parse(checkout, file)]);
  const lib = parsed('lib');
  const imports = ([file, source]) => [file, importsOf(source)];
  const inLib = new Map(lib.map(imports));

  const ofImports = [...inLib].flatMap(([file, found]) =>
    found.map(({ specifier, isType }) => breachOfImport(file.slice('lib/'.length), specifier, isType)),
  );
  const ofPurity = lib
    .filter(([file]) => isPure(file.slice('lib/'.length)))
    .flatMap(([, source]) => impurities(source));
  const ofIncludes = Object.keys(forbiddenIncludes).flatMap((folder) =>
    filesOf(join(checkout, 'native', folder), '', /\.(cc?|h|hh|cpp|hpp)$/).flatMap((file) =>
      [...readFileSync(join(checkout, 'native', folder, file), 'utf8').matchAll(includes)].map(([, header]) =>
        breachOfInclude(folder, file, header),
      ),
    ),
  );
  const ofCircles = [...circles(inLib), ...circles(new Map(parsed('bench').map(imports)))];
  return [...ofImports, ...ofPurity, ...ofIncludes, ...ofCircles].filter(Boolean);
}

runCheck(import.meta.url, breaches);
