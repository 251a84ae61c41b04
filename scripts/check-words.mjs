import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesOf, root, runCheck } from './lint/source.mjs';

/** Words of the right column of `docs/style.md` that are never right, with what to write instead. */
const words = [
  [/\banew\b/i, 'again'],
  [/\bwhoever\b|\bnobody\b|\bsomebody\b/i, 'the caller, the consumer, no caller'],
  [/\bmeanwhile\b/i, 'concurrently, in the meantime'],
  [/\bof (its|their|your|our) own\b/i, 'its own, their own'],
  [/\b(can|could|cannot|to) be had\b/i, 'is available'],
  [/\bno more\b(?! than)/i, 'no longer, no further'],
  [/\b(is|are|was|were|be|been) told\b/i, 'is notified, learns'],
  [/\btells?\b/i, 'reports, emits, says'],
  [/\bso many\b/i, 'that many, N'],
  [/\bon (its|their) way\b|\bunder way\b/i, 'in flight'],
  [/\b(is|are|was|were) given up\b/i, 'is cancelled, is abandoned'],
];

const maxColumns = 120;

const prose = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'CODE_OF_CONDUCT.md'];
const folders = ['lib', 'native', 'docs', 'examples', 'scripts', '.github'];
const codeFolders = ['lib', 'native', 'examples', 'scripts', 'test', 'bench'];
const text = /\.(ts|mts|mjs|rs|cc|h|py|md|yml)$/;
const code = /\.(ts|mts|mjs|rs|cc|h|py)$/;

/** Files that quote the words, and the generated header. */
const exempt = new Set([
  'docs/style.md',
  'docs/glossary.md',
  'scripts/check-words.mjs',
  'examples/tiny-llama/train/make_fixture.py',
]);
const generated = new Set(['native/core/include/dynamo_core.h']);

/** Every word of a line that is never right, with what to write instead. */
export function badWords(line) {
  return words.flatMap(([pattern, instead]) => {
    const found = pattern.exec(line)?.[0];
    return found ? [`write ${instead} instead of '${found}'`] : [];
  });
}

export function tooLong(line) {
  const columns = [...line].length;
  return columns > maxColumns ? [`${columns} columns; the most is ${maxColumns}`] : [];
}

const check = (file, find) =>
  readFileSync(join(root, file), 'utf8')
    .split('\n')
    .flatMap((line, index) => find(line).map((fault) => `${file}:${index + 1}: ${fault}`));

runCheck(import.meta.url, () => {
  const texts = [...prose, ...folders.flatMap((folder) => filesOf(root, folder, text))];
  const codes = codeFolders.flatMap((folder) => filesOf(root, folder, code));
  return [
    ...texts.filter((file) => !exempt.has(file)).flatMap((file) => check(file, badWords)),
    ...codes.filter((file) => !generated.has(file)).flatMap((file) => check(file, tooLong)),
  ];
});
