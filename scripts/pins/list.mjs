/** The versions of Python whose wheels a list has: those of the supported systems, and newer ones. */
export const pythons = ['3.11', '3.12', '3.13', '3.14'];

/** glibc 2.36, the oldest that the package supports, also runs wheels for every older one. */
const newestGlibc = 36;
const oldestGlibc = 5;

/** pip's names of the platforms whose wheels a list has, the newest first. */
export const platforms = [
  ...Array.from({ length: newestGlibc - oldestGlibc + 1 }, (_, index) => `manylinux_2_${newestGlibc - index}_x86_64`),
  ...['manylinux2014_x86_64', 'manylinux2010_x86_64', 'manylinux1_x86_64', 'linux_x86_64'],
];

const head = `# Made by node scripts/pins.mjs. To change a version, edit it and run that again: it writes the hashes.
# They are of the wheels for Linux x86-64, glibc 2.36 and newer, and Python ${pythons.join(', ')}.
`;

/** The lines `name==version` of a list, with or without hashes. */
export const versionsOf = (text) => [...text.matchAll(/^([\w.-]+==[^\s;\\]+)/gm)].map(([, version]) => version);

/** The name that the package index uses, whatever the spelling of a name. */
const normal = (name) => name.toLowerCase().replace(/[-_.]+/g, '-');

/** A Map from a package's name to the SHA-256 of its wheels in some reports of pip. */
export function hashesOf(reports) {
  const hashes = new Map();
  for (const { metadata, download_info: from } of reports.flatMap((report) => report.install)) {
    const name = normal(metadata.name);
    hashes.set(name, (hashes.get(name) ?? new Set()).add(from.archive_info.hashes.sha256));
  }
  return hashes;
}

/** A list that pip installs with `--require-hashes`. `start` is its first lines. */
export function listOf(versions, hashes, start = head) {
  const entries = versions.map((version) => {
    const own = hashes.get(normal(version.split('==')[0]));
    if (own === undefined) throw new Error(`${version}: pip found no wheel`);
    return [version, ...[...own].sort().map((hash) => `--hash=sha256:${hash}`)].join(' \\\n    ');
  });
  return `${start}${entries.join('\n')}\n`;
}
