import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cyclesOf } from './lint/cycles.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const nameOf = (path) => path.join('::') || 'lib';

/** A Rust source without comments and string contents, which may mention paths. */
const codeOf = (text) =>
  text
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    .replace(/b?"(?:[^"\\]|\\[\s\S])*"/g, '""')
    .replace(/\bb?'(?:[^'\\]|\\.)'/g, "''");

/** The paths of a use tree: `a::{b, c::d as e}` is `a::b` and `a::c::d`, each with the name that it is known by. */
export function expandUse(tree) {
  const open = tree.indexOf('{');
  if (open < 0) {
    const [path, alias] = tree.split(/\s+as\s+/).map((part) => part.trim());
    const segments = path.split('::').filter(Boolean);
    return segments.length > 0 ? [{ segments, name: alias ?? segments.at(-1) }] : [];
  }
  const prefix = tree
    .slice(0, open)
    .split('::')
    .map((part) => part.trim())
    .filter(Boolean);
  const parts = [];
  let depth = 0;
  let start = open + 1;
  for (let at = open + 1; at < tree.length; at++) {
    if (tree[at] === '{') depth++;
    if ((tree[at] === ',' || tree[at] === '}') && depth === 0) {
      parts.push(tree.slice(start, at));
      start = at + 1;
    } else if (tree[at] === '}') depth--;
  }
  return parts.flatMap(expandUse).map(({ segments, name }) => ({ segments: [...prefix, ...segments], name }));
}

/** The modules of a crate by name: path, code, imported paths, and the names that the module re-exports. */
function modulesOf(source) {
  const modules = new Map();
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.rs')) continue;
    const path = file.replace(/\.rs$/, '').split('/');
    if (path.at(-1) === 'mod' || file === 'lib.rs') path.pop();
    const code = codeOf(readFileSync(join(source, file), 'utf8'));
    const imports = [];
    const exports = new Map();
    const rest = code.replace(/\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);/g, (_, visibility, tree) => {
      for (const { segments, name } of expandUse(tree)) {
        imports.push(segments);
        if (visibility) exports.set(name, segments);
      }
      return '';
    });
    for (const [inline] of rest.matchAll(/\b(?:crate|super)(?:::\w+)+/g)) imports.push(inline.split('::'));
    const declaresOnly = !/\b(?:fn|struct|enum|trait|impl|type|const|static|macro_rules!)\s/.test(rest);
    modules.set(nameOf(path), { path, imports, exports, declaresOnly });
  }
  return modules;
}

/** The name of the module that a path in `from` leads to, through re-exports; undefined outside of the crate. */
function resolve(modules, from, segments) {
  let at;
  const rest = [...segments];
  if (rest[0] === 'crate') at = [];
  else if (rest[0] === 'self') at = from.path;
  else if (rest[0] === 'super') at = from.path.slice(0, -1);
  else if (modules.has(nameOf([...from.path, rest[0]]))) at = [...from.path, rest[0]];
  else return undefined;
  rest.shift();
  while (rest[0] === 'super') {
    at = at.slice(0, -1);
    rest.shift();
  }
  for (const segment of rest) {
    const child = [...at, segment];
    const module = modules.get(nameOf(at));
    if (modules.has(nameOf(child))) at = child;
    else return module?.exports.has(segment) ? resolve(modules, module, module.exports.get(segment)) : nameOf(at);
  }
  return nameOf(at);
}

/** Which module of a crate imports which. A module that only declares others is not in the graph. */
export function importsOf(source) {
  const modules = modulesOf(source);
  const graph = new Map();
  for (const [name, module] of modules) {
    if (module.declaresOnly) continue;
    const targets = module.imports.map((segments) => resolve(modules, module, segments));
    const kept = targets.filter((target) => target && target !== name && !modules.get(target)?.declaresOnly);
    graph.set(name, [...new Set(kept)]);
  }
  return graph;
}

/** The same graph between the top-level modules. */
function areasOf(graph) {
  const areas = new Map();
  const areaOf = (name) => name.split('::')[0];
  for (const [name, targets] of graph) {
    const area = areas.get(areaOf(name)) ?? new Set();
    for (const target of targets) if (areaOf(target) !== areaOf(name)) area.add(areaOf(target));
    areas.set(areaOf(name), area);
  }
  return new Map([...areas].map(([name, targets]) => [name, [...targets]]));
}

/** Every import cycle of native/core/src in a checkout: between files, and between top-level modules. */
export function rustCycles(checkout = root) {
  const graph = importsOf(join(checkout, 'native/core/src'));
  return [...cyclesOf(graph), ...cyclesOf(areasOf(graph))].map(
    (names) => `native/core/src: a cycle of imports: ${names.join(', ')}`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = rustCycles();
  found.forEach((cycle) => console.error(cycle));
  process.exitCode = found.length > 0 ? 1 : 0;
}
