import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

import { type Artifact, readArtifact } from '../deploy/artifact-read.js';
import { findArtifact, isArtifact, listArtifacts, packagesFolder } from '../deploy/artifact-store.js';
import type { CommandArgs, CommandIo } from './command.js';
import { note, print, printJson, tableLines } from './output.js';

/**
 * An artifact that is a folder, or is in the store. `.`, `..` and words with a slash are paths. With a colon they are
 * tags, unless such a folder exists.
 *
 * @throws DeployError `E_NO_ARTIFACT` (66), `E_BAD_ARTIFACT` (65), `E_BAD_TAG` (64)
 */
export async function artifactOf(target: string, io: CommandIo): Promise<Artifact> {
  const folder = resolve(io.cwd, target);
  const isPath = target.includes(':')
    ? /^\.{0,2}[\\/]/.test(target) && existsSync(folder)
    : /^\.{1,2}$|[\\/]/.test(target);
  return readArtifact(isPath || isArtifact(folder) ? folder : await findArtifact(target, io.env));
}

export async function printArtifacts({ json }: CommandArgs<object>, io: CommandIo): Promise<void> {
  const artifacts = await listArtifacts(io.env);
  if (json) {
    printJson(
      io,
      artifacts.map(({ manifest, ...rest }) => ({
        ...rest,
        ...(manifest === undefined ? {} : { digest: manifest.digest }),
      })),
    );
    return;
  }
  if (artifacts.length === 0) return note(io, `no artifacts in ${packagesFolder(io.env)}`);
  const rows = artifacts.map(({ name, version, manifest, folder }) => [
    name,
    version,
    manifest === undefined ? 'damaged' : `${manifest.graph.services.length}`,
    folder,
  ]);
  for (const line of tableLines(io, rows, ['NAME', 'VERSION', 'SERVICES', 'FOLDER'])) print(io, line);
}

export async function showArtifact({ positionals, json }: CommandArgs<object>, io: CommandIo): Promise<void> {
  const { folder, manifest } = await artifactOf(positionals[0] as string, io);
  if (json) return printJson(io, { folder, ...manifest });
  const { name, version, digest, runtime, graph, files } = manifest;
  const rows = [
    ['Artifact', `${name}:${version}`],
    ['Digest', `sha256:${digest}`],
    ['Folder', folder],
    ['Runs on', `Dynamo ${runtime.dynamo}, Node.js ${runtime.node}`],
    ['Entry', graph.entry],
    ['Files', `${files.length}, all as in the manifest`],
  ];
  for (const line of tableLines(io, rows)) print(io, line);
  print(io);
  const services = graph.services.map((one) => [one.name, one.role, `${one.workers}`, `${one.resources.gpu}`]);
  for (const line of tableLines(io, services, ['SERVICE', 'ROLE', 'WORKERS', 'GPUS'])) print(io, line);
}
