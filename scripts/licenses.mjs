import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from './setup/index.mjs';
import { root, SetUpError } from './setup/process.mjs';
import { installRust } from './setup/rust.mjs';

const allowed = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'Apache-2.0 WITH LLVM-exception',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BSL-1.0',
  'CC0-1.0',
  'CDLA-Permissive-2.0',
  'ISC',
  'MIT',
  'MIT-0',
  'Unicode-3.0',
  'Unicode-DFS-2016',
  'Unlicense',
  'Zlib',
]);

/** Crates that name a copyleft licence, and why each may still be linked. A person has read each of them. */
export const reviewed = {
  'aws-lc-sys': 'The Jitter Entropy library in it is offered under BSD-3-Clause or GPL-2.0: taken under BSD-3-Clause.',
  colored: 'MPL-2.0, linked unmodified: its source is the published crate.',
  'option-ext': 'MPL-2.0, linked unmodified: its source is the published crate.',
  'zeromq-src':
    "libzmq is LGPL-3.0 with its authors' exception, which permits static linking with code of any licence.",
  'zstd-sys': 'zstd is offered under BSD-3-Clause or GPL-2.0: taken under BSD-3-Clause.',
};

/** Parts of the addon that come from no crate. */
const otherParts = [
  'The Rust standard library: MIT OR Apache-2.0, The Rust Project Developers',
  'node-addon-api: MIT, Node.js API collaborators',
  'libstdc++ and libgcc: GPL-3.0-or-later WITH GCC-exception-3.1, Free Software Foundation',
];

const copyleft = new RegExp(
  'GNU (?:LESSER |AFFERO |LIBRARY )?GENERAL PUBLIC LICENSE|Mozilla Public License|Eclipse Public License|' +
    'European Union Public Licence',
  'i',
);

/** Whether allowed licences alone satisfy an SPDX expression. Cargo's older `A/B` means `A OR B`. */
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

/** The crates whose code is in the addon: normal dependencies, and `*-src` crates, which contain C sources. */
export function linkedCrates() {
  const args = [
    'metadata',
    '--locked',
    '--offline',
    '--format-version',
    '1',
    '--filter-platform',
    'x86_64-unknown-linux-gnu',
  ];
  const options = {
    cwd: join(root, 'native/core'),
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'inherit'],
  };
  const { packages, resolve } = JSON.parse(execFileSync('cargo', args, options));
  const byId = new Map(packages.map((crate) => [crate.id, crate]));
  const dependencies = new Map(resolve.nodes.map(({ id, deps }) => [id, deps]));
  const isLinked = ({ pkg, dep_kinds }) =>
    dep_kinds.some(({ kind }) => kind === null) || byId.get(pkg).name.endsWith('-src');

  const linked = new Set();
  const visit = (id) => {
    if (linked.has(id) || isMacro(byId.get(id))) return;
    linked.add(id);
    dependencies
      .get(id)
      .filter(isLinked)
      .forEach(({ pkg }) => visit(pkg));
  };
  visit(resolve.root);
  linked.delete(resolve.root);
  return [...linked]
    .map((id) => byId.get(id))
    .sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version));
}

const nameOf = ({ name, version }) => `${name} ${version}`;

/** The licence files of a crate and, one folder down, of the C library that it may contain. */
function* licenseFiles(folder, depth = 1) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isFile() && /^(licen[cs]e|copying|notice)/i.test(entry.name)) yield path;
    else if (entry.isDirectory() && depth > 0) yield* licenseFiles(path, depth - 1);
  }
}

/** Each distinct licence text with the crates that contain it. */
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

/** The npm packages that are installed with this one, including optional ones. */
export function runtimePackages() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional)
    .map(([path, { version, license }]) => ({ name: path.replace(/^.*node_modules\//, ''), version, license }));
}

/** Why a licence may not be shipped, or undefined. `texts` are the licence files of the part. */
export function refusalOf({ name, license }, texts = []) {
  if (name in reviewed) return undefined;
  if (!license) return 'has no licence';
  if (!isAllowed(license)) return `has the licence ${license}, which is not on the list of scripts/licenses.mjs`;
  const found = texts.map((text) => copyleft.exec(text)?.[0]).find(Boolean);
  return (
    found && `contains the text of the ${found}: read it, then add the crate to \`reviewed\` of scripts/licenses.mjs`
  );
}

/** Every crate and package that may not be shipped, and every review of a crate that is not linked. */
export function refusals(crates, packages) {
  const textsOf = (crate) => [...licenseFiles(dirname(crate.manifest_path))].map((file) => readFileSync(file, 'utf8'));
  const parts = [...crates.map((crate) => [crate, textsOf(crate)]), ...packages.map((one) => [one, []])];
  const stale = Object.keys(reviewed).filter((name) => !crates.some((crate) => crate.name === name));
  return [
    ...parts
      .map(([part, texts]) => [part, refusalOf(part, texts)])
      .filter(([, why]) => why)
      .map(([part, why]) => `${nameOf(part)} ${why}`),
    ...stale.map((name) => `${name} is reviewed in scripts/licenses.mjs, but is not linked`),
  ];
}

function describe(crate) {
  const origin = [crate.authors.join(', '), crate.repository].filter(Boolean).join(', ');
  const note = reviewed[crate.name] ? `\n    ${reviewed[crate.name]}` : '';
  return `${nameOf(crate)}: ${crate.license}${origin && ` (${origin})`}${note}`;
}

export function notices(crates, packages) {
  const texts = [...licenseTexts(crates)].map(
    ([text, names]) => `${'-'.repeat(80)}\n${[...names].join(', ')}\n\n${text}\n`,
  );
  return [
    'The native addon of dynamo-node contains these crates. Their licence texts follow the list.',
    crates.map(describe).join('\n'),
    'It also contains:',
    otherParts.join('\n'),
    'npm installs these packages with it, each with its own licence file:',
    packages.map((one) => `${nameOf(one)}: ${one.license}`).join('\n'),
    texts.join('\n'),
  ].join('\n\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    await installRust();
    const [crates, packages] = [linkedCrates(), runtimePackages()];
    const refused = refusals(crates, packages);
    if (refused.length > 0) throw new SetUpError(refused.join('\n'));
    writeFileSync(join(root, 'THIRD_PARTY_NOTICES'), notices(crates, packages));
    console.log(`THIRD_PARTY_NOTICES: ${crates.length} crates, ${packages.length} packages`);
  });
}
