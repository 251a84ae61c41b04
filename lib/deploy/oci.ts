import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { create } from 'tar';

import { checkOutput, folderExists, isTaken } from './artifact-files.js';
import { MANIFEST_FILE } from './artifact-manifest.js';
import type { Artifact } from './artifact-read.js';

/** A blob of an image layout. Source: the OCI image specification, content descriptors. */
export interface Descriptor {
  readonly mediaType: string;
  /** `sha256:` and 64 hexadecimal digits. */
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: { readonly architecture: string; readonly os: string };
}

/** The image that `writeOciLayout` has written. */
export interface OciImage {
  readonly manifest: Descriptor;
  /** The SHA-256 of the tar before compression. It identifies the content whatever gzip made of it. */
  readonly diffId: string;
}

const MEDIA = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;

/** The content is JavaScript, but an image must name a platform. */
const PLATFORM = { architecture: 'amd64', os: 'linux' } as const;

/** The file that every image layout has. */
const LAYOUT_FILE = 'oci-layout';

/** Where the artifact lies in the image. */
const PREFIX = 'app';

const EPOCH = new Date(0);

const OWNER_RUNS = 0o100;

/** Passes bytes through and counts them into a hash. */
class Digest extends Transform {
  readonly #hash = createHash('sha256');
  size = 0;

  override _transform(part: Buffer, _: string, done: (error: null, part: Buffer) => void): void {
    this.#hash.update(part);
    this.size += part.length;
    done(null, part);
  }

  hex(): string {
    return this.#hash.digest('hex');
  }
}

/** All folders above the files, and the files, each folder before its content. */
function entriesOf(paths: readonly string[]): string[] {
  const entries = new Set<string>(['.']);
  for (const path of paths) {
    const parts = path.split('/');
    parts.forEach((_, index) => entries.add(parts.slice(0, index + 1).join('/')));
  }
  return [...entries].sort();
}

/** The tar of an artifact: sorted, without users, with the time 0, so that its bytes depend on its content only. */
const tarOf = (folder: string, paths: readonly string[]) =>
  create(
    {
      cwd: folder,
      prefix: PREFIX,
      portable: true,
      mtime: EPOCH,
      noDirRecurse: true,
      onWriteEntry: ({ stat }) => {
        if (stat !== undefined) stat.mode = stat.isDirectory() || (stat.mode & OWNER_RUNS) !== 0 ? 0o755 : 0o644;
      },
    },
    entriesOf(paths),
  );

/**
 * Writes an artifact as an OCI image layout: one layer, which has the artifact in `/app`. Needs no builder. The folder
 * appears complete or not at all.
 *
 * @throws DeployError `E_ARTIFACT_EXISTS` (73) if the folder exists, unless `force`; `E_NOT_REPLACED` (73) if it is not
 *   an image layout, whatever `force` says
 */
export async function writeOciLayout({ folder, manifest }: Artifact, target: string, force = false): Promise<OciImage> {
  await checkOutput(target, { kind: 'an image layout', file: LAYOUT_FILE, word: 'imageLayoutVersion' }, force);
  const temporary = `${target}.${randomBytes(4).toString('hex')}.part`;
  const blobs = join(temporary, 'blobs', 'sha256');
  try {
    await mkdir(blobs, { recursive: true });
    const paths = [MANIFEST_FILE, ...manifest.files.map(({ path }) => path)];
    const { layer, diffId } = await writeLayer(folder, paths, blobs);
    const config = await writeBlob(blobs, MEDIA.config, {
      ...PLATFORM,
      created: EPOCH.toISOString(),
      config: {
        WorkingDir: `/${PREFIX}`,
        Labels: {
          'org.opencontainers.image.title': manifest.name,
          'org.opencontainers.image.version': manifest.version,
          'com.nvidia.dynamo.digest': `sha256:${manifest.digest}`,
        },
      },
      rootfs: { type: 'layers', diff_ids: [diffId] },
      history: [{ created: EPOCH.toISOString(), created_by: 'dynamo build' }],
    });
    const image = await writeBlob(blobs, MEDIA.manifest, {
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config,
      layers: [layer],
    });
    const annotations = { 'org.opencontainers.image.ref.name': manifest.version };
    const index = { schemaVersion: 2, manifests: [{ ...image, platform: PLATFORM, annotations }] };
    await writeFile(join(temporary, 'index.json'), JSON.stringify(index));
    await writeFile(join(temporary, LAYOUT_FILE), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
    if (force) await rm(target, { recursive: true, force: true });
    await rename(temporary, target);
    return { manifest: image, diffId };
  } catch (error) {
    throw isTaken(error) ? folderExists(target) : error;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function writeLayer(
  folder: string,
  paths: readonly string[],
  blobs: string,
): Promise<{ readonly layer: Descriptor; readonly diffId: string }> {
  const [plain, compressed] = [new Digest(), new Digest()];
  const file = join(blobs, 'layer');
  const tar = tarOf(folder, paths) as unknown as AsyncIterable<Buffer>;
  await pipeline(tar, plain, createGzip({ level: 9 }), compressed, createWriteStream(file));
  const digest = compressed.hex();
  await rename(file, join(blobs, digest));
  const layer = { mediaType: MEDIA.layer, digest: `sha256:${digest}`, size: compressed.size };
  return { layer, diffId: `sha256:${plain.hex()}` };
}

async function writeBlob(blobs: string, mediaType: string, value: object): Promise<Descriptor> {
  const content = Buffer.from(JSON.stringify(value));
  const digest = createHash('sha256').update(content).digest('hex');
  await writeFile(join(blobs, digest), content);
  return { mediaType, digest: `sha256:${digest}`, size: (await stat(join(blobs, digest))).size };
}
