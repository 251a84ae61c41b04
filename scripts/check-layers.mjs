import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What each area of lib/ may import besides itself. `index` and `errors` are the files beside the areas. */
const base = ['addon', 'runtime', 'errors'];
const areas = {
  errors: [],
  addon: ['errors'],
  runtime: ['addon', 'errors'],
  nixl: base,
  kvbm: [...base, 'nixl'],
  router: [...base, 'kvbm'],
  llm: [...base, 'router', 'kvbm', 'nixl'],
  sdk: [...base, 'llm'],
  planner: [...base, 'sdk', 'router'],
};
const unrestricted = ['index', 'cli'];

/** Folders of native/ with what no file in them may include. */
const forbiddenIncludes = {
  core: /napi\.h|node_api\.h|nixl/,
  nixl: /napi\.h|node_api\.h|dynamo_core\.h/,
};

const imports = /(?:\bfrom|\bimport|\brequire)\s*\(?\s*['"]([^'"]+)['"]/g;
const includes = /^\s*#\s*include\s*[<"]([^>"]+)[>"]/gm;

function* filesOf(folder, pattern) {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && entry.name !== 'target') yield* filesOf(path, pattern);
    else if (pattern.test(entry.name)) yield path;
  }
}

const areaOf = (path) => path.split('/')[0].replace(/\.[cm]?[jt]s$/, '');

/** The breach of the dependency rule by one import of a file of lib/, if it is one; paths are relative to lib/. */
export function breachOfImport(file, specifier) {
  const from = areaOf(file);
  if (specifier === 'node-gyp-build' && from !== 'addon') return `lib/${file}: only lib/addon may load the addon`;
  if (!specifier.startsWith('.') || unrestricted.includes(from)) return undefined;
  const to = areaOf(posix.join(posix.dirname(file), specifier));
  if (!(from in areas)) return `lib/${file}: the area '${from}' is not in the table of scripts/check-layers.mjs`;
  return to === from || areas[from].includes(to) ? undefined : `lib/${file}: ${from} may not import ${to}`;
}

/** The breach of the dependency rule by one include of a file of native/FOLDER, if it is one. */
export function breachOfInclude(folder, file, header) {
  return forbiddenIncludes[folder]?.test(header) ? `native/${folder}/${file}: may not include ${header}` : undefined;
}

/** Every breach of the dependency rule in a checkout. */
export function breaches(checkout = root) {
  const found = [];
  const lib = resolve(checkout, 'lib');
  for (const path of filesOf(lib, /\.[cm]?ts$/)) {
    for (const [, specifier] of readFileSync(path, 'utf8').matchAll(imports))
      found.push(breachOfImport(relative(lib, path), specifier));
  }
  for (const folder of Object.keys(forbiddenIncludes)) {
    const base = resolve(checkout, 'native', folder);
    for (const path of filesOf(base, /\.(cc?|h|hh|cpp|hpp)$/)) {
      for (const [, header] of readFileSync(path, 'utf8').matchAll(includes))
        found.push(breachOfInclude(folder, relative(base, path), header));
    }
  }
  return found.filter(Boolean);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = breaches();
  found.forEach((breach) => console.error(breach));
  process.exitCode = found.length > 0 ? 1 : 0;
}
