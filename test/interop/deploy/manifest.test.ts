import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

import { manifestOf } from '../../../lib/deploy/kubernetes/manifest.js';
import { toYaml } from '../../../lib/deploy/yaml.js';
import { GRAPHS } from '../../helpers/deploy/graphs.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { execute, root } from '../../helpers/project.js';
import { describeUnless } from '../../helpers/skipping.js';

const folder = mkdtempSync(join(tmpdir(), 'dynamo-manifests-'));
afterAll(() => rmSync(folder, { recursive: true }));

describeUnless(missingPeers, "the models of Dynamo's profiler", () => {
  it('read every deployment as it was meant', async () => {
    const manifests = Object.entries(GRAPHS).map(([name, graph]) =>
      manifestOf(graph, { name, image: 'registry.example/g:1a2b3c4d', runtimeVersion: '1.6.1', env: { A: 'y' } }),
    );
    const files = manifests.map((manifest) => {
      const file = join(folder, `${manifest.metadata.name}.yaml`);
      writeFileSync(file, toYaml(manifest));
      return file;
    });
    const program = join(root, 'test/interop/peers/dgd.py');
    const { stdout } = await execute(join(root, '.peers/bin/python'), [program, ...files]);
    const read = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(read).toEqual(
      manifests.map(({ metadata, spec }) => ({
        name: metadata.name,
        components: spec.components.map((one) => ({
          name: one.name,
          type: one.type,
          replicas: one.replicas,
          scaled: one.scalingAdapter !== undefined,
          runtimeVersion: one.runtimeVersionOverride ?? null,
          main: one.podTemplate.spec.containers[0],
        })),
      })),
    );
  });
});
