// node scripts/vllm/pin.mjs: writes the hashes of the pinned Python packages into the lists of scripts/vllm.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashesOf, listOf, platforms, versionsOf } from '../pins/list.mjs';
import { main } from '../setup/index.mjs';
import { root, run } from '../setup/process.mjs';

const pythons = ['3.11', '3.12'];
const folder = join(root, 'scripts/vllm');
const head = `# Made by scripts/vllm/pin.mjs. To change a version, edit it and run that again: it writes the hashes.
# They are of the wheels for Linux x86-64, glibc 2.36 and newer, and Python ${pythons.join(', ')}.
`;

/** What pip would install on one version of Python, without installing it. */
async function reportOf(list, version, scratch) {
  const report = join(scratch, `${version}.json`);
  const target = ['--target', join(scratch, 'target'), '--python-version', version, '--implementation', 'cp'];
  await run(join(root, '.peers/bin/python'), [
    ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--dry-run', '--ignore-installed'],
    ...[...target, ...platforms.flatMap((platform) => ['--platform', platform])],
    ...['--only-binary', ':all:', '--no-deps', '--report', report, '-r', list],
  ]);
  return JSON.parse(readFileSync(report, 'utf8'));
}

await main(async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'dynamo-pins-'));
  try {
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.txt'))) {
      const versions = versionsOf(readFileSync(join(folder, name), 'utf8'));
      const list = join(scratch, 'list.txt');
      writeFileSync(list, versions.join('\n'));
      const reports = [];
      for (const version of pythons) reports.push(await reportOf(list, version, scratch));
      writeFileSync(join(folder, name), listOf(versions, hashesOf(reports), head));
      console.log(`${name}: ${versions.length} packages for Python ${pythons.join(', ')}`);
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
});
