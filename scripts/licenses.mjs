import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const allowed = new Set([
  '0BSD',
  'Apache-2.0',
  'Apache-2.0 WITH LLVM-exception',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BSL-1.0',
  'CC0-1.0',
  'CDLA-Permissive-2.0',
  'ISC',
  'MIT',
  'MIT-0',
  'MPL-2.0',
  'Unicode-3.0',
  'Unicode-DFS-2016',
  'Unlicense',
  'Zlib',
]);

/** Whether an SPDX expression can be met with allowed licences alone. Cargo's older `A/B` means `A OR B`. */
export function isAllowed(expression) {
  const tokens = expression.replaceAll('/', ' OR ').match(/[()]|\b(?:AND|OR)\b|[^\s()]+(?: WITH [^\s()]+)?/g) ?? [];
  const any = () => {
    let met = all();
    while (tokens[0] === 'OR') met = (tokens.shift(), all()) || met;
    return met;
  };
  const all = () => {
    let met = one();
    while (tokens[0] === 'AND') met = (tokens.shift(), one()) && met;
    return met;
  };
  const one = () => {
    const token = tokens.shift();
    if (token !== '(') return allowed.has(token);
    const met = any();
    tokens.shift();
    return met;
  };
  return any() && tokens.length === 0;
}

const isMacro = ({ targets }) => targets.some(({ kind }) => kind.includes('proc-macro'));

/** The crates whose code is in the addon: all reached by normal dependencies, and the C sources that `*-src` crates carry. */
function linkedCrates() {
  const args = ['metadata', '--locked', '--format-version', '1', '--filter-platform', 'x86_64-unknown-linux-gnu'];
  const options = { cwd: join(root, 'native/core'), encoding: 'utf8', maxBuffer: 256 * 1024 * 1024, stdio: ['ignore', 'pipe', 'inherit'] };
  const { packages, resolve } = JSON.parse(execFileSync('cargo', args, options));
  const byId = new Map(packages.map((crate) => [crate.id, crate]));
  const dependencies = new Map(resolve.nodes.map(({ id, deps }) => [id, deps]));
  const isLinked = ({ pkg, dep_kinds }) => dep_kinds.some(({ kind }) => kind === null) || byId.get(pkg).name.endsWith('-src');

  const linked = new Set();
  const visit = (id) => {
    if (linked.has(id) || isMacro(byId.get(id))) return;
    linked.add(id);
    dependencies.get(id).filter(isLinked).forEach(({ pkg }) => visit(pkg));
  };
  visit(resolve.root);
  linked.delete(resolve.root);
  return [...linked].map((id) => byId.get(id)).sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version));
}

const nameOf = ({ name, version }) => `${name} ${version}`;

/** The licence files of a crate and, one folder down, of the C library that it may carry. */
function* licenseFiles(folder, depth = 1) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isFile() && /^(licen[cs]e|copying|notice)/i.test(entry.name)) yield path;
    else if (entry.isDirectory() && depth > 0) yield* licenseFiles(path, depth - 1);
  }
}

/** Each distinct licence text with the crates that carry it. */
function licenseTexts(crates) {
  const texts = new Map();
  for (const crate of crates) {
    for (const file of licenseFiles(dirname(crate.manifest_path))) {
      const text = readFileSync(file, 'utf8').trim();
      texts.set(text, (texts.get(text) ?? new Set()).add(nameOf(crate)));
    }
  }
  return texts;
}

function notices(crates) {
  const list = crates.map((crate) => `${nameOf(crate)}: ${crate.license}`);
  const texts = [...licenseTexts(crates)].map(([text, names]) => `${'-'.repeat(80)}\n${[...names].join(', ')}\n\n${text}\n`);
  return `The native addon of dynamo-node contains these crates.\n\n${list.join('\n')}\n\n${texts.join('\n')}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const crates = linkedCrates();
  const refused = crates.filter(({ license }) => !isAllowed(license ?? ''));
  for (const crate of refused) console.error(`${nameOf(crate)}: licence ${crate.license ?? 'unknown'} is not on the list of scripts/licenses.mjs`);
  if (refused.length > 0) process.exit(1);
  writeFileSync(join(root, 'THIRD_PARTY_NOTICES'), notices(crates));
  console.log(`THIRD_PARTY_NOTICES: ${crates.length} crates`);
}
