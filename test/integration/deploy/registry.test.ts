import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { buildImage, pushImage } from '../../../lib/deploy/artifact-image.js';
import { readArtifact } from '../../../lib/deploy/artifact-read.js';
import { writeOciLayout } from '../../../lib/deploy/oci.js';
import { WrittenArtifact } from '../../helpers/deploy/artifacts.js';
import { ImageRegistry } from '../../helpers/deploy/registry.js';
import { execute } from '../../helpers/project.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { describeUnless } from '../../helpers/skipping.js';

const folder = mkdtempSync(join(tmpdir(), 'dynamo-pushed-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const missingOf = async (...programs: readonly string[]): Promise<string | undefined> => {
  for (const program of programs)
    try {
      await execute(program, ['--version']);
    } catch {
      return `${program} is not installed (Debian package ${program})`;
    }
  return undefined;
};

describeUnless(await missingOf('docker-registry', 'skopeo'), 'an OCI layout in a registry', () => {
  it('arrives with its digest, and comes back with the same blobs', async () => {
    await using registry = await ImageRegistry.start();
    using artifact = new WrittenArtifact();
    const layout = join(folder, 'layout');
    const written = await writeOciLayout(await readArtifact(artifact.folder), layout);
    const reference = `docker://${registry.host}/team/agg:1a2b3c4d`;
    const copy = (from: string, to: string) =>
      execute('skopeo', ['copy', '--insecure-policy', '--src-tls-verify=false', '--dest-tls-verify=false', from, to]);
    await copy(`oci:${layout}:1a2b3c4d`, reference);
    const { manifest, config } = await registry.image('team/agg', '1a2b3c4d');
    expect(config).toMatchObject({ rootfs: { diff_ids: [written.diffId] } });
    expect(manifest.layers).toHaveLength(1);
    const { stdout } = await execute('skopeo', ['inspect', '--tls-verify=false', reference]);
    expect(JSON.parse(stdout)).toMatchObject({ Digest: written.manifest.digest });
    await copy(reference, `oci:${join(folder, 'back')}:back`);
    const inspected = await execute('skopeo', ['inspect', `oci:${join(folder, 'back')}:back`]);
    expect(JSON.parse(inspected.stdout)).toMatchObject({ Digest: written.manifest.digest });
  });
});

describeUnless(await missingOf('docker-registry', 'buildah'), 'dynamo build --push', () => {
  const files = { 'src/graph.js': 'export {};\n', 'env/docker/Dockerfile': 'FROM scratch\nCOPY . /app/\nUSER 1024\n' };
  const base = {
    ...process.env,
    CONTAINERS_STORAGE_CONF: '/dev/null',
    STORAGE_DRIVER: 'vfs',
    STORAGE_OPTS: '',
    BUILDAH_ISOLATION: 'chroot',
    XDG_DATA_HOME: join(folder, 'store'),
  };

  it('pushes the image that buildah has built to a real registry', async () => {
    await using registry = await ImageRegistry.start();
    using artifact = new WrittenArtifact(files);
    const options = { env: { ...base, CONTAINERS_REGISTRIES_CONF: registry.clientConfig }, write: () => {} };
    const reference = `${registry.host}/team/agg:1`;
    await buildImage('buildah', artifact.folder, reference, options);
    await pushImage('buildah', reference, options);
    const { manifest, config } = await registry.image('team/agg', '1');
    expect(config).toMatchObject({ config: { User: '1024' } });
    expect(manifest.layers.length).toBeGreaterThan(0);
  });

  it('fails with the words of the builder if the registry does not answer', async () => {
    using artifact = new WrittenArtifact(files);
    const reference = `127.0.0.1:${await freePort()}/team/agg:1`;
    const options = { env: base, write: () => {} };
    await buildImage('buildah', artifact.folder, reference, options);
    await expect(pushImage('buildah', reference, options)).rejects.toMatchObject({
      code: 'E_BUILDER_FAILED',
      message: expect.stringContaining('connection refused') as string,
    });
  });
});

describe('the programs of these tests', () => {
  it('are named if they are missing', async () => {
    expect(await missingOf('no-such-registry')).toBe(
      'no-such-registry is not installed (Debian package no-such-registry)',
    );
  });
});
