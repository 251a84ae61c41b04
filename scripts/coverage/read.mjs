import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { relativeTo } from '../lint/source.mjs';
import { outputOf, root, run, SetUpError } from '../setup/process.mjs';
import { addon, cmakeFolder, folder, profileFolder } from './build.mjs';

// Each reader returns a Map from a file of the repository to its lines: `{ covered, total }`.

export function typescriptLines() {
  const summary = JSON.parse(readFileSync(join(folder, 'lib/coverage-summary.json'), 'utf8'));
  return new Map(
    Object.entries(summary)
      .filter(([file]) => file !== 'total')
      .map(([file, { lines }]) => [relativeTo(root, file), { covered: lines.covered, total: lines.total }]),
  );
}

/** What gcov says of one object: a line that several objects or instances share has one record for each. */
function gcovRecords(notes) {
  const { stdout } = spawnSync('gcov', ['--json-format', '--stdout', notes], {
    cwd: cmakeFolder,
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return stdout
    .split('\n')
    .filter(Boolean)
    .flatMap((text) => {
      const { current_working_directory: from, files } = JSON.parse(text);
      return files.map(({ file, lines }) => ({ file: relativeTo(root, resolve(from, file)), lines }));
    });
}

/** Merges the counts of each line over all objects. */
export function mergeLines(records, isOurs) {
  const counts = new Map();
  for (const { file, lines } of records.filter((record) => isOurs(record.file))) {
    const known = counts.get(file) ?? new Map();
    for (const { line_number: line, count } of lines) known.set(line, (known.get(line) ?? 0) + count);
    counts.set(file, known);
  }
  return new Map(
    [...counts].map(([file, lines]) => {
      const covered = [...lines.values()].filter((count) => count > 0).length;
      return [file, { covered, total: lines.size }];
    }),
  );
}

export function cppLines() {
  const notes = readdirSync(cmakeFolder, { recursive: true }).filter((name) => name.endsWith('.gcno'));
  return mergeLines(notes.flatMap(gcovRecords), (file) => file.startsWith('native/'));
}

/** A tool of the pinned toolchain's LLVM: the profile's format changes with its version. */
function llvmTool(name) {
  const core = join(root, 'native/core');
  const sysroot = outputOf('rustc', ['--print', 'sysroot'], { cwd: core });
  const tool = join(sysroot, 'lib/rustlib/x86_64-unknown-linux-gnu/bin', name);
  if (!existsSync(tool))
    throw new SetUpError(`${name} is missing: run \`rustup component add llvm-tools\` in native/core`);
  return tool;
}

export const checkTools = () => ['llvm-profdata', 'llvm-cov'].forEach(llvmTool);

export async function rustLines() {
  const merged = join(folder, 'rust.profdata');
  const profiles = readdirSync(profileFolder).map((name) => join(profileFolder, name));
  await run(llvmTool('llvm-profdata'), ['merge', '-sparse', '-o', merged, ...profiles]);
  const exported = outputOf(llvmTool('llvm-cov'), ['export', '--summary-only', `--instr-profile=${merged}`, addon], {
    maxBuffer: 256 * 1024 * 1024,
  });
  if (exported === undefined) throw new SetUpError(`llvm-cov could not read ${addon}`);
  const [{ files }] = JSON.parse(exported).data;
  return new Map(
    files
      .map(({ filename, summary }) => [relativeTo(root, filename), summary.lines])
      .filter(([file]) => file.startsWith('native/core/src/'))
      .map(([file, { covered, count }]) => [file, { covered, total: count }]),
  );
}
