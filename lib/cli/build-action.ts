import { join, resolve } from 'node:path';

import { planArtifact, writeArtifact } from '../deploy/artifact.js';
import { type BuilderOptions, buildImage, findBuilder, pushImage } from '../deploy/artifact-image.js';
import { readArtifact } from '../deploy/artifact-read.js';
import { packagesFolder, parseTag } from '../deploy/artifact-store.js';
import { writeOciLayout } from '../deploy/oci.js';
import type { BuildCommandOptions } from './build.js';
import type { CommandArgs, CommandIo } from './command.js';
import { checkPythonImages, configuredGraph, pairsOf } from './graph-source.js';
import { note, print, printJson } from './output.js';
import { CRATES } from './version.js';

export async function buildArtifact(args: CommandArgs<BuildCommandOptions>, io: CommandIo): Promise<void> {
  const { positionals, options, overrides, json } = args;
  const { force = false, config, image, oci, push, containerize = push !== undefined } = options;
  const images = pairsOf('--image', image);
  const tag = options.tag === undefined ? undefined : parseTag('--tag', options.tag);
  const builderOptions: BuilderOptions = {
    env: io.env,
    write: (text) => void io.stderr.write(text),
    ...(options.builder === undefined ? {} : { builder: options.builder }),
  };
  // Before the work, so that a missing builder costs no time.
  const builder = containerize ? await findBuilder(builderOptions) : undefined;

  const { loaded, spec } = await configuredGraph(positionals[0] as string, config, overrides, io);
  checkPythonImages(spec, images);
  const planned = await planArtifact({
    graph: spec,
    file: loaded.file,
    exportName: loaded.exportName,
    configs: config === undefined ? [] : [resolve(io.cwd, config)],
    name: tag?.name,
    version: tag?.version,
    images,
    runtimeVersion: options.runtimeVersion ?? CRATES['dynamo-runtime'],
  });
  const { name, version, digest } = planned.manifest;
  const folder =
    options.output === undefined ? join(packagesFolder(io.env), name, version) : resolve(io.cwd, options.output);
  if (force || !(await hasContent(folder, digest))) await writeArtifact(planned, folder, force);
  for (const path of planned.skipped) note(io, `not packed: ${path}`);
  for (const name of planned.localPackages)
    note(io, `warning: ${name} is not packed, so the image cannot install it; name a published version`);

  const artifact = { folder, manifest: planned.manifest };
  const layout = oci === undefined ? undefined : resolve(io.cwd, oci);
  const written = layout === undefined ? undefined : await writeOciLayout(await readArtifact(folder), layout, force);
  const reference = push ?? `${name}:${version}`;
  if (builder !== undefined) {
    await buildImage(builder, artifact.folder, reference, builderOptions);
    if (push !== undefined) await pushImage(builder, reference, builderOptions);
  }

  if (json) {
    printJson(io, {
      name,
      version,
      digest,
      folder,
      skipped: planned.skipped,
      ...(written === undefined
        ? {}
        : { oci: { folder: layout, digest: written.manifest.digest, diffId: written.diffId } }),
      ...(builder === undefined ? {} : { image: reference, builder, pushed: push !== undefined }),
    });
    return;
  }
  print(io, `Successfully built ${name}:${version}.`);
  print(io, `Artifact: ${folder}`);
  if (written !== undefined) print(io, `OCI layout: ${layout} (${written.manifest.digest})`);
  if (builder !== undefined) print(io, `${push === undefined ? 'Image' : 'Pushed'}: ${reference}`);
}

/** Whether a folder has this artifact: a second build of the same project has nothing to do. */
async function hasContent(folder: string, digest: string): Promise<boolean> {
  try {
    return (await readArtifact(folder)).manifest.digest === digest;
  } catch {
    return false;
  }
}
