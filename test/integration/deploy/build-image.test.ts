import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

import { buildImage, findBuilder, pushImage } from '../../../lib/deploy/artifact-image.js';
import { WrittenArtifact } from '../../helpers/deploy/artifacts.js';
import { execute } from '../../helpers/project.js';
import { describeUnless } from '../../helpers/skipping.js';

const missing = await execute('buildah', ['--version']).then(
  () => undefined,
  () => 'buildah is not installed (Debian package buildah)',
);

const store = mkdtempSync(join(tmpdir(), 'dynamo-buildah-'));
afterAll(() => rmSync(store, { recursive: true, force: true }));

/** Images in a folder, without a mount, so that any user can build. */
const env = {
  ...process.env,
  CONTAINERS_STORAGE_CONF: '/dev/null',
  STORAGE_DRIVER: 'vfs',
  STORAGE_OPTS: '',
  BUILDAH_ISOLATION: 'chroot',
  XDG_DATA_HOME: store,
};

const FILES = { 'src/graph.js': 'export {};\n', 'env/docker/Dockerfile': 'FROM scratch\nCOPY . /app/\n' };

describeUnless(missing, 'buildah', () => {
  let output = '';
  const options = { env, builder: 'buildah', write: (text: string) => void (output += text) } as const;

  it('builds the Dockerfile of an artifact with the artifact as its context, and pushes the image', async () => {
    using artifact = new WrittenArtifact(FILES);
    const builder = await findBuilder(options);
    const reference = 'localhost/agg:1a2b3c4d';
    await buildImage(builder, artifact.folder, reference, options);
    expect(output).toContain('COPY . /app/');
    const { stdout } = await execute('buildah', ['inspect', '--type', 'image', reference], { env });
    expect(JSON.parse(stdout)).toMatchObject({ FromImage: reference });
    await execute('buildah', ['rmi', reference], { env });
    await expect(pushImage(builder, reference, options)).rejects.toMatchObject({ code: 'E_BUILDER_FAILED' });
  });

  it('reports the last lines of a build that fails', async () => {
    using artifact = new WrittenArtifact({ ...FILES, 'env/docker/Dockerfile': 'FROM scratch\nCOPY gone /app/\n' });
    await expect(buildImage('buildah', artifact.folder, 'localhost/agg:2', options)).rejects.toMatchObject({
      code: 'E_BUILDER_FAILED',
      exitCode: 1,
      message: expect.stringMatching(/^buildah build failed with exit code \d+:\n[\s\S]*gone/),
    });
  });
});
