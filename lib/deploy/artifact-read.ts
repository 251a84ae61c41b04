import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type ArtifactContent, portable } from './artifact-files.js';
import { type ArtifactManifest, MANIFEST_FILE, parseManifest } from './artifact-manifest.js';
import { DeployError } from './deploy-error.js';

/** An artifact on disk. */
export interface Artifact {
  /** The absolute path of its folder. */
  readonly folder: string;
  readonly manifest: ArtifactManifest;
}

/** A manifest of more bytes is none. */
const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

const bad = (path: string, message: string): DeployError =>
  new DeployError('E_BAD_ARTIFACT', `${path}: ${message}`, { exitCode: 65, path });

/** The SHA-256 of bytes or of a file, in hexadecimal digits. */
export async function hashOf(content: ArtifactContent): Promise<string> {
  const hash = createHash('sha256');
  if (Buffer.isBuffer(content)) return hash.update(content).digest('hex');
  for await (const part of createReadStream(content.from)) hash.update(part as Buffer);
  return hash.digest('hex');
}

/**
 * Reads the manifest of an artifact, but no other file.
 *
 * @throws DeployError `E_NO_ARTIFACT` (66) if there is none, `E_BAD_ARTIFACT` (65) if it is not valid
 */
export async function readManifest(folder: string): Promise<ArtifactManifest> {
  const path = join(folder, MANIFEST_FILE);
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) {
    const reason = existsSync(folder) ? `it has no ${MANIFEST_FILE}` : 'there is no such folder';
    throw new DeployError('E_NO_ARTIFACT', `${folder} is no artifact: ${reason}`, { exitCode: 66, path: folder });
  }
  if (!stats.isFile()) throw bad(path, 'expected a file');
  if (stats.size > MAX_MANIFEST_BYTES)
    throw bad(path, `expected at most ${MAX_MANIFEST_BYTES} bytes, got ${stats.size}`);
  return parseManifest(path, await readFile(path, 'utf8'));
}

/**
 * Reads an artifact and checks all of it: its files are those of the manifest, and none is a link.
 *
 * @throws DeployError `E_NO_ARTIFACT` (66), `E_BAD_ARTIFACT` (65) that names the file
 */
export async function readArtifact(folder: string): Promise<Artifact> {
  const manifest = await readManifest(folder);
  const expected = new Map(manifest.files.map(({ path, sha256 }) => [path, sha256]));
  for (const file of await filesOf(folder)) {
    const path = portable(folder, file);
    if (path === MANIFEST_FILE) continue;
    const wanted = expected.get(path);
    if (wanted === undefined) throw bad(file, `expected only the files of ${MANIFEST_FILE}`);
    const found = await hashOf({ from: file });
    if (found !== wanted) throw bad(file, `expected the SHA-256 ${wanted}, got ${found}`);
    expected.delete(path);
  }
  const [missing] = expected.keys();
  if (missing !== undefined) throw bad(join(folder, missing), 'the file is missing');
  return { folder, manifest };
}

/** All files below a folder. Nothing is followed, so nothing outside is read. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return filesOf(path);
      if (entry.isFile()) return [path];
      throw bad(path, entry.isSymbolicLink() ? 'expected no symbolic link' : 'expected a file or a folder');
    }),
  );
  return found.flat().sort();
}
