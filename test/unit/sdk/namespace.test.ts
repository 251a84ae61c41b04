import { describe, expect, it } from 'vitest';
import {
  calledNamespaces,
  frontendScope,
  graphNamespace,
  inNamespace,
  isGeneration,
  servedNamespace,
} from '../../../lib/sdk/namespace.js';
import { GRAPHS } from '../../helpers/deploy/graphs.js';

const worker = { namespace: 'dynamo', role: 'worker' } as const;
const frontend = { namespace: 'dynamo', role: 'frontend' } as const;

describe('servedNamespace', () => {
  it.each([
    [worker, {}, 'dynamo'],
    [worker, { DYN_NAMESPACE: '' }, 'dynamo'],
    [worker, { DYN_NAMESPACE: 'prod-agg' }, 'prod-agg'],
    [worker, { DYN_NAMESPACE_WORKER_SUFFIX: 'qa1' }, 'dynamo-qa1'],
    [worker, { DYN_NAMESPACE: 'prod', DYN_NAMESPACE_WORKER_SUFFIX: 'qa1' }, 'prod-qa1'],
    [worker, { DYN_NAMESPACE: 'prod-qa1', DYN_NAMESPACE_WORKER_SUFFIX: 'qa1' }, 'prod-qa1'],
    [worker, { DYN_NAMESPACE: 'prod', DYN_NAMESPACE_WORKER_SUFFIX: '' }, 'prod'],
    [frontend, { DYN_NAMESPACE: 'prod', DYN_NAMESPACE_WORKER_SUFFIX: 'qa1' }, 'prod'],
    [{ ...worker, namespace: 'other' }, { DYN_NAMESPACE: 'prod' }, 'other'],
  ])('of %j under %j is %s', (service, env, namespace) => {
    expect(servedNamespace(service, 'dynamo', env)).toBe(namespace);
  });

  it('rejects a variable that is no name', () => {
    for (const [value, message] of [
      ['-', '$DYN_NAMESPACE: expected a name with a letter or a digit, got "-"'],
      ['a'.repeat(5000), '$DYN_NAMESPACE: expected at most 150 characters, got 5000: "aaaa'],
    ] as const)
      expect(() => servedNamespace(worker, 'dynamo', { DYN_NAMESPACE: value })).toThrow(message);
    expect(() => servedNamespace(worker, 'dynamo', { DYN_NAMESPACE: 'My Graph' })).toThrow(
      '$DYN_NAMESPACE: expected a name of a-z, 0-9, - and _, got "My Graph"',
    );
  });
});

describe('calledNamespaces', () => {
  it.each([
    [worker, { DYN_NAMESPACE: 'prod' }, { kind: 'exact', namespace: 'prod' }],
    [worker, { DYN_NAMESPACE_WORKER_SUFFIX: 'v2' }, { kind: 'exact', namespace: 'dynamo-v2' }],
    [
      worker,
      { DYN_NAMESPACE: 'prod', DYN_NAMESPACE_PREFIX: 'prod', DYN_NAMESPACE_WORKER_SUFFIX: 'v2' },
      { kind: 'prefix', prefix: 'prod', isStrict: false },
    ],
    [
      worker,
      { DYN_NAMESPACE_PREFIX: 'prod', DYN_NAMESPACE_PREFIX_STRICT: 'true' },
      { kind: 'prefix', prefix: 'prod', isStrict: true },
    ],
    [frontend, { DYN_NAMESPACE_PREFIX: 'prod', DYN_NAMESPACE: 'prod' }, { kind: 'exact', namespace: 'prod' }],
    [{ ...worker, namespace: 'other' }, { DYN_NAMESPACE_PREFIX: 'prod' }, { kind: 'exact', namespace: 'other' }],
  ])('of %j under %j are %j', (service, env, scope) => {
    expect(calledNamespaces(service, 'dynamo', env)).toEqual(scope);
  });
});

describe('isGeneration', () => {
  it.each([
    ['prod', false, true],
    ['prod-v1', false, true],
    ['production', false, false],
    ['prod-v1', true, false],
    ['prod-0a1b2c3d', true, true],
    ['prod-legacy', true, true],
  ])('of %s, strict: %s, is %s', (namespace, isStrict, expected) => {
    expect(isGeneration({ kind: 'prefix', prefix: 'prod', isStrict }, namespace)).toBe(expected);
  });
});

describe('frontendScope', () => {
  it.each([
    [{}, {}],
    [{ DYN_NAMESPACE: 'prod' }, { namespace: 'prod' }],
    [{ DYN_NAMESPACE: 'prod', DYN_NAMESPACE_WORKER_SUFFIX: 'v1' }, { namespace: 'prod-v1' }],
    [{ DYN_NAMESPACE: 'prod', DYN_NAMESPACE_PREFIX: 'prod' }, { namespacePrefix: 'prod' }],
  ])('under %j is %j', (env, scope) => {
    expect(frontendScope(env)).toEqual(scope);
  });
});

describe('inNamespace', () => {
  it('moves the services of a graph, each by its role', () => {
    const spec = inNamespace(GRAPHS.disaggregated, { DYN_NAMESPACE: 'prod', DYN_NAMESPACE_WORKER_SUFFIX: 'v1' });
    expect(spec.services.map(({ name, namespace }) => `${name} ${namespace}`)).toEqual([
      'PrefillWorker prod-v1',
      'DecodeWorker prod-v1',
      'Frontend prod',
    ]);
    expect(graphNamespace(GRAPHS.configured)).toBe('shop');
  });
});
