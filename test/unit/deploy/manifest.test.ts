import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

import { type ManifestOptions, manifestOf } from '../../../lib/deploy/kubernetes/manifest.js';
import { toYaml } from '../../../lib/deploy/yaml.js';
import { GRAPHS } from '../../helpers/deploy/graphs.js';

const OPTIONS: ManifestOptions = { name: 'g', image: 'registry.example/g:1a2b3c4d', runtimeVersion: '1.6.1' };

describe('the deployment of a graph', () => {
  it.each([
    ['aggregated', {}],
    ['disaggregated', { kubernetesNamespace: 'team-a', env: { HF_HOME: '/models' } }],
    ['planned', {}],
    ['configured', { images: { Y: 'registry.example/y@sha256:'.concat('0'.repeat(64)) } }],
  ] as const)('of kind %s is what the fixture says', async (name, options) => {
    const manifest = manifestOf(GRAPHS[name], { ...OPTIONS, ...options });
    const text = toYaml(manifest);
    await expect(text).toMatchFileSnapshot(`../../fixtures/deploy/${name}.yaml`);
    for (const version of ['1.1', '1.2'] as const) expect(parse(text, { version })).toEqual(manifest);
  });

  it('has a scaling adapter for the services that are named, and no other', () => {
    const { components } = manifestOf(GRAPHS.planned, { ...OPTIONS, scaled: ['Decode'] }).spec;
    expect(components.filter((one) => one.scalingAdapter !== undefined).map(({ name }) => name)).toEqual(['Decode']);
  });

  it('overrides the version of a Python image whose tag is none', () => {
    const images = { PrefillWorker: 'registry.example/vllm:main', DecodeWorker: 'registry.example/vllm:1.7.0' };
    const { components } = manifestOf(GRAPHS.disaggregated, { ...OPTIONS, images }).spec;
    expect(Object.fromEntries(components.map((one) => [one.name, one.runtimeVersionOverride]))).toEqual({
      Frontend: '1.6.1',
      PrefillWorker: '1.6.1',
      DecodeWorker: undefined,
    });
  });

  it.each([
    [{ name: 'Big' }, 'manifest options.name: expected a name of a-z, 0-9 and -, at most 63 characters, got "Big"'],
    [{ name: 'a'.repeat(64) }, 'manifest options.name: expected a name of a-z, 0-9 and -'],
    [{ image: 'a b' }, 'manifest options.image: expected an image such as registry/name:tag, got "a b"'],
    [{ image: undefined }, 'image of Frontend: expected an image such as registry/name:tag, got undefined'],
    [{ images: { Worker: '' } }, 'image of Worker: expected an image such as registry/name:tag, got ""'],
    [{ images: { Other: 'a' } }, 'manifest options.images: expected names of services: Worker, Frontend, got "Other"'],
    [{ scaled: ['x'] }, 'manifest options.scaled: expected names of services: Worker, Frontend, got "x"'],
    [{ env: { 'A B': '1' } }, 'manifest options.env: expected names of environment variables, got "A B"'],
    [{ env: { A: 1 } }, 'manifest options.env.A: expected a string, got 1'],
    [{ runtimeVersion: 'latest' }, 'manifest options.runtimeVersion: expected a version such as 1.6.1, got "latest"'],
    [{ kubernetesNamespace: '../x' }, 'manifest options.kubernetesNamespace: expected a name of a-z, 0-9 and -'],
    [{ other: 1 }, 'manifest options.other: unknown option'],
  ])('rejects the options %j', (changes, message) => {
    expect(() => manifestOf(GRAPHS.aggregated, { ...OPTIONS, ...changes } as ManifestOptions)).toThrow(message);
  });

  it('keeps Kubernetes from replacing text of the configuration', () => {
    const services = GRAPHS.configured.services.map((one) => ({ ...one, config: { prompt: 'costs $(PRICE)' } }));
    const { env } = manifestOf({ ...GRAPHS.configured, services }, OPTIONS).spec;
    const ServiceArgs = '{"workers":1,"resources":{"gpu":0.5}}';
    const value = `{"Y":{"prompt":"costs $$(PRICE)","ServiceArgs":${ServiceArgs}}}`;
    expect(env).toEqual([{ name: 'DYN_DEPLOYMENT_CONFIG', value }]);
  });

  it('sets one worker and the GPUs of each service in its pod, whatever the code says', () => {
    const services = GRAPHS.configured.services.map((one) => ({
      ...one,
      workers: 1,
      resources: { ...one.resources, gpu: 1 },
      config: {},
    }));
    const { env, components } = manifestOf({ ...GRAPHS.configured, services }, OPTIONS).spec;
    expect(components.map(({ replicas }) => replicas)).toEqual([1]);
    expect(JSON.parse(env?.[0]?.value ?? '')).toEqual({ Y: { ServiceArgs: { workers: 1, resources: { gpu: 1 } } } });
  });

  it('rejects a Python service without an image', () => {
    const services = GRAPHS.disaggregated.services.map(({ image: _, ...service }) => service);
    expect(() => manifestOf({ ...GRAPHS.disaggregated, services }, OPTIONS)).toThrow(
      'image of DecodeWorker: expected an image with Python and dynamo.vllm, in the options of the service or by ' +
        'name, got undefined',
    );
  });

  it('rejects a configuration that does not fit a variable', () => {
    const services = GRAPHS.configured.services.map((one) => ({ ...one, config: { text: 'x'.repeat(128 * 1024) } }));
    expect(() => manifestOf({ ...GRAPHS.configured, services }, OPTIONS)).toThrow(
      /^the configuration: expected less than 128 KiB of JSON, got 131\d{3} characters$/,
    );
  });
});
