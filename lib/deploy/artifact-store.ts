import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

import {
  ARTIFACT_NAME,
  ARTIFACT_VERSION,
  type ArtifactManifest,
  isArtifactName,
  isArtifactVersion,
  MANIFEST_FILE,
} from './artifact-manifest.js';
import { readManifest } from './artifact-read.js';
import { DeployError } from './deploy-error.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** The folder of the artifacts of a user: `packages` in `$DYN_HOME`, which is `~/.dynamo` by default. */
export function packagesFolder(env: Environment): string {
  const home = env['DYN_HOME'];
  return join(home === undefined || home === '' ? join(homedir(), '.dynamo') : resolve(home), 'packages');
}

/** The name and version of an artifact, as `name:version`. */
export interface ArtifactTag {
  readonly name: string;
  readonly version?: string;
}

/**
 * Reads `name:version` or `name`.
 *
 * @throws DeployError `E_BAD_TAG` (64)
 */
export function parseTag(path: string, tag: string): ArtifactTag {
  const [name = '', version, ...more] = tag.split(':');
  const expected = !isArtifactName(name)
    ? ARTIFACT_NAME
    : (version !== undefined && !isArtifactVersion(version)) || more.length > 0
      ? ARTIFACT_VERSION
      : undefined;
  if (expected !== undefined)
    throw new DeployError('E_BAD_TAG', `${path}: expected ${expected}, got '${tag}'`, {
      exitCode: 64,
      hint: 'A tag is NAME or NAME:VERSION, such as words:1.0.',
    });
  return { name, ...(version === undefined ? {} : { version }) };
}

/** One artifact of the store. */
export interface StoredArtifact {
  readonly name: string;
  readonly version: string;
  readonly folder: string;
  /** Undefined if its manifest is not valid. */
  readonly manifest: ArtifactManifest | undefined;
  /** Why its manifest is not valid. */
  readonly fault?: string;
}

async function foldersIn(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const entries = await readdir(folder, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
}

/** The artifacts of the store, by name and version. What was not written completely is not one of them. */
export async function listArtifacts(env: Environment): Promise<StoredArtifact[]> {
  const packages = packagesFolder(env);
  const found: StoredArtifact[] = [];
  for (const name of await foldersIn(packages))
    for (const version of await foldersIn(join(packages, name))) {
      const folder = join(packages, name, version);
      if (!isArtifactName(name) || !isArtifactVersion(version)) continue;
      try {
        found.push({ name, version, folder, manifest: await readManifest(folder) });
      } catch (error) {
        found.push({ name, version, folder, manifest: undefined, fault: (error as Error).message });
      }
    }
  return found;
}

/**
 * The folder of an artifact of the store. Without a version it must have only one.
 *
 * @throws DeployError `E_NO_ARTIFACT` (66), `E_BAD_TAG` (64)
 */
export async function findArtifact(tag: string, env: Environment): Promise<string> {
  const { name, version } = parseTag('artifact', tag);
  const packages = packagesFolder(env);
  const versions = (await foldersIn(join(packages, name))).filter(isArtifactVersion);
  const missing = (message: string, hint?: string): DeployError =>
    new DeployError('E_NO_ARTIFACT', message, {
      exitCode: 66,
      path: packages,
      ...(hint === undefined ? {} : { hint }),
    });
  if (version === undefined && versions.length > 1)
    throw missing(`artifact ${name} has several versions: ${versions.join(', ')}`, `Name one: ${name}:${versions[0]}`);
  const found = versions.find((one) => version === undefined || one === version);
  if (found === undefined) throw missing(`artifact ${tag} is not in ${packages}`, 'See `dynamo list`.');
  return join(packages, name, found);
}

/** Whether a path is the folder of an artifact. */
export const isArtifact = (path: string): boolean => existsSync(join(path, MANIFEST_FILE));
