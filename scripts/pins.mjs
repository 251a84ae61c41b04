// node scripts/pins.mjs [LIST ...]: writes the hashes of the pinned Python packages into the lists of scripts/*.txt.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { hashesOf, listOf, platforms, pythons, versionsOf } from './pins/list.mjs';
import { main } from './setup/index.mjs';
import { root, run, SetUpError } from './setup/process.mjs';

const python = join(root, '.peers/bin/python');

/** What pip would install on one version of Python, without installing it. */
async function reportOf(versions, version, folder) {
  const [list, report] = [join(folder, 'list.txt'), join(folder, `${version}.json`)];
  writeFileSync(list, versions.join('\n'));
  const target = ['--target', join(folder, 'target'), '--python-version', version, '--implementation', 'cp'];
  await run(python, [
    ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--dry-run', '--ignore-installed'],
    ...[...target, ...platforms.flatMap((platform) => ['--platform', platform])],
    ...['--only-binary', ':all:', '--no-deps', '--report', report, '-r', list],
  ]);
  return JSON.parse(readFileSync(report, 'utf8'));
}

async function pin(file) {
  const versions = versionsOf(readFileSync(file, 'utf8'));
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-pins-'));
  try {
    const reports = [];
    for (const version of pythons) reports.push(await reportOf(versions, version, folder));
    writeFileSync(file, listOf(versions, hashesOf(reports)));
  } finally {
    rmSync(folder, { recursive: true });
  }
  console.log(`${basename(file)}: ${versions.length} packages for Python ${pythons.join(', ')}`);
}

await main(async () => {
  const lists = readdirSync(join(root, 'scripts')).filter((name) => name.endsWith('.txt'));
  const wanted = process.argv.slice(2).map((name) => basename(name));
  const unknown = wanted.find((name) => !lists.includes(name));
  if (unknown) throw new SetUpError(`${unknown} is not a list of scripts/: there are ${lists.join(', ')}`);
  for (const name of wanted.length > 0 ? wanted : lists) await pin(join(root, 'scripts', name));
});
