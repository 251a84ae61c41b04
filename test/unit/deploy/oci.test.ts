import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { list } from 'tar';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readArtifact } from '../../../lib/deploy/artifact-read.js';
import { type Descriptor, type OciImage, writeOciLayout } from '../../../lib/deploy/oci.js';
import { WrittenArtifact } from '../../helpers/deploy/artifacts.js';
import { treeOf } from '../../helpers/deploy/user-project.js';
import { execute } from '../../helpers/project.js';

const LONG = `src/${'long-name/'.repeat(14)}grüße-${'x'.repeat(90)}.txt`;
const FILES = { 'src/graph.js': 'export {};\n', 'package.json': '{}', 'run.sh': '#!/bin/sh\n', [LONG]: 'long' };

const folder = mkdtempSync(join(tmpdir(), 'dynamo-oci-'));
const layout = join(folder, 'layout');
let artifact: WrittenArtifact;
let image: OciImage;

beforeAll(async () => {
  artifact = new WrittenArtifact(FILES);
  chmodSync(join(artifact.folder, 'run.sh'), 0o700);
  image = await writeOciLayout(await readArtifact(artifact.folder), layout);
});
afterAll(() => {
  artifact[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const sha256 = (content: Buffer): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;
const blob = ({ digest }: Descriptor, from = layout): Buffer => readFileSync(join(from, 'blobs', ...digest.split(':')));
const json = (descriptor: Descriptor) => JSON.parse(String(blob(descriptor)));
const manifest = () => json(image.manifest) as { config: Descriptor; layers: Descriptor[] };

/** Why a program cannot check the layout, or undefined. */
const missing = (program: string): Promise<string | undefined> =>
  execute(program, ['--version']).then(
    () => undefined,
    () => `${program} is not installed (Debian package ${program}); the digests are checked by the test itself`,
  );

describe('an OCI layout', () => {
  it('has blobs whose names and sizes are those of their content', () => {
    const { config, layers } = manifest();
    const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: Descriptor[] };
    expect(JSON.parse(readFileSync(join(layout, 'oci-layout'), 'utf8'))).toEqual({ imageLayoutVersion: '1.0.0' });
    expect(index.manifests.map(({ digest }) => digest)).toEqual([image.manifest.digest]);
    const all = [image.manifest, config, ...layers];
    for (const descriptor of all) {
      expect(sha256(blob(descriptor))).toBe(descriptor.digest);
      expect(blob(descriptor)).toHaveLength(descriptor.size);
    }
    expect(readdirSync(join(layout, 'blobs/sha256'))).toHaveLength(all.length);
  });

  it('names the hash of the uncompressed tar as its diff_id', () => {
    const { config, layers } = manifest();
    const tar = gunzipSync(blob(layers[0] as Descriptor));
    expect(json(config)).toMatchObject({
      rootfs: { type: 'layers', diff_ids: [sha256(tar)] },
      os: 'linux',
      config: { WorkingDir: '/app', Labels: { 'org.opencontainers.image.version': '1a2b3c4d' } },
    });
    expect(image.diffId).toBe(sha256(tar));
  });

  it('has sorted entries of nobody, at the time 0, with modes that a umask does not change', async () => {
    const file = join(folder, 'layer.tar');
    writeFileSync(file, gunzipSync(blob(manifest().layers[0] as Descriptor)));
    const entries: { path: string; mode: string; time: number; uid: number | undefined; type: string }[] = [];
    await list({
      file,
      onReadEntry: ({ path, mode, mtime, uid, type }) =>
        void entries.push({
          path,
          mode: (mode ?? 0).toString(8),
          time: mtime?.getTime() ?? 0,
          uid: uid ?? 0,
          type,
        }),
    });
    const paths = entries.map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(['app/', 'app/dynamo.yaml', 'app/src/', `app/${LONG}`]));
    expect(paths.map((path) => path.replace(/\/$/, ''))).toEqual(paths.map((path) => path.replace(/\/$/, '')).sort());
    expect(new Set(entries.map(({ time, uid }) => `${time} ${uid}`))).toEqual(new Set(['0 0']));
    expect(new Set(entries.map(({ type, mode }) => `${type} ${mode}`))).toEqual(
      new Set(['Directory 755', 'File 644', 'File 755']),
    );
  });

  it('is the same for the same artifact in another folder with other modes', async () => {
    using other = new WrittenArtifact(FILES);
    for (const [path, mode] of [
      ['package.json', 0o600],
      ['src', 0o700],
      ['run.sh', 0o755],
    ] as const)
      chmodSync(join(other.folder, path), mode);
    const again = join(folder, 'again');
    expect(await writeOciLayout(await readArtifact(other.folder), again)).toEqual(image);
    expect(await treeOf(again)).toEqual(await treeOf(layout));
  });

  it('does not replace a folder, unless it is forced to, and leaves nothing beside it', async () => {
    const read = await readArtifact(artifact.folder);
    const target = join(folder, 'target');
    await writeOciLayout(read, target);
    await expect(writeOciLayout(read, target)).rejects.toMatchObject({ code: 'E_ARTIFACT_EXISTS', exitCode: 73 });
    expect(await writeOciLayout(read, target, true)).toEqual(image);
    expect(readdirSync(folder).filter((name) => name.startsWith('target'))).toEqual(['target']);
  });

  it('never replaces what is no layout', async () => {
    const mine = join(folder, 'mine');
    mkdirSync(mine);
    writeFileSync(join(mine, 'notes.txt'), 'keep');
    for (const force of [false, true])
      await expect(writeOciLayout(await readArtifact(artifact.folder), mine, force)).rejects.toMatchObject({
        code: 'E_NOT_REPLACED',
        exitCode: 73,
        message: `${mine} exists and is not an image layout, so it is not replaced`,
      });
    expect(readdirSync(mine)).toEqual(['notes.txt']);
  });

  it('is unpacked by umoci to the files of the artifact', async ({ skip }) => {
    const reason = await missing('umoci');
    if (reason !== undefined) skip(reason);
    const bundle = join(folder, 'bundle');
    await execute('umoci', ['unpack', '--rootless', '--image', `${layout}:1a2b3c4d`, bundle]);
    const texts = async (of: string) =>
      Object.entries(await treeOf(of)).map(([path, text]) => [path, text.replace(/^\d+ /, '')]);
    expect(await texts(join(bundle, 'rootfs/app'))).toEqual(await texts(artifact.folder));
  });

  it('is refused by umoci if its diff_id is wrong', async ({ skip }) => {
    const reason = await missing('umoci');
    if (reason !== undefined) skip(reason);
    const wrong = join(folder, 'wrong');
    await execute('cp', ['-r', layout, wrong]);
    const { config, layers } = manifest();
    const write = (value: object): Descriptor => {
      const content = Buffer.from(JSON.stringify(value));
      writeFileSync(join(wrong, 'blobs', ...sha256(content).split(':')), content);
      return { mediaType: '', digest: sha256(content), size: content.length };
    };
    const changed = { ...json(config), rootfs: { type: 'layers', diff_ids: [layers[0]?.digest] } };
    const { digest, size } = write({
      ...manifest(),
      config: { ...config, ...write(changed), mediaType: config.mediaType },
    });
    const index = JSON.parse(readFileSync(join(wrong, 'index.json'), 'utf8')) as { manifests: object[] };
    index.manifests = index.manifests.map((one) => ({ ...one, digest, size }));
    writeFileSync(join(wrong, 'index.json'), JSON.stringify(index));
    await expect(
      execute('umoci', ['unpack', '--rootless', '--image', `${wrong}:1a2b3c4d`, join(folder, 'never')]),
    ).rejects.toThrow(/diffid mismatch/);
  });

  it('is inspected and copied by skopeo without a change', async ({ skip }) => {
    const reason = await missing('skopeo');
    if (reason !== undefined) skip(reason);
    const { stdout } = await execute('skopeo', ['inspect', `oci:${layout}`]);
    expect(JSON.parse(stdout)).toMatchObject({ Digest: image.manifest.digest, Os: 'linux' });
    const copy = join(folder, 'copy');
    await execute('skopeo', ['copy', '--insecure-policy', `oci:${layout}:1a2b3c4d`, `oci:${copy}:copied`]);
    expect(readdirSync(join(copy, 'blobs/sha256')).sort()).toEqual(readdirSync(join(layout, 'blobs/sha256')).sort());
  });
});
