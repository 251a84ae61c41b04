import {
  checkGraphSpec,
  defineService,
  depends,
  frontendService,
  GRAPH_SCHEMA,
  type GraphSpec,
  graph,
  pythonService,
} from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

const Worker = defineService('WordWorker', {
  role: 'decode',
  workers: 2,
  image: 'img:1',
  env: { A: '1' },
  labels: { team: 'a' },
  resources: { cpu: '300m', memory: '10Gi', gpu: 0.5 },
})
  .endpoint('embedText', async () => 1)
  .endpoint('list', { transports: ['dynamo', 'http'], httpMethod: 'GET' }, async function* () {});
const Vllm = pythonService('Vllm', { module: 'dynamo.vllm', args: ['--model', 'm'] }, { resources: { gpu: 2 } });
const Front = frontendService('Front');
const Entry = defineService('Entry', { deps: { words: depends(Worker, { mode: 'random' }) } });

const spec = graph('g', Entry).with(Vllm, Front).toJSON();

describe('the spec of a graph', () => {
  it('has all that another process needs', () => {
    expect(spec).toEqual({
      schema: GRAPH_SCHEMA,
      name: 'g',
      entry: 'Entry',
      services: [
        expect.objectContaining({
          name: 'Vllm',
          component: 'vllm',
          role: 'worker',
          program: 'python',
          python: { module: 'dynamo.vllm', args: ['--model', 'm'] },
          resources: { gpu: 2 },
        }),
        expect.objectContaining({ name: 'Front', program: 'frontend', role: 'frontend', endpoints: [] }),
        {
          name: 'WordWorker',
          namespace: 'dynamo',
          component: 'wordworker',
          role: 'decode',
          program: 'code',
          endpoints: [
            { name: 'embed_text', stream: false, transports: ['dynamo'] },
            { name: 'list', stream: true, transports: ['dynamo', 'http'], httpMethod: 'GET' },
          ],
          dependencies: [],
          resources: { cpu: '300m', memory: '10Gi', gpu: 0.5 },
          workers: 2,
          httpPort: 8000,
          image: 'img:1',
          env: { A: '1' },
          labels: { team: 'a' },
          config: {},
        },
        expect.objectContaining({
          name: 'Entry',
          workers: 1,
          dependencies: [{ property: 'words', service: 'WordWorker', mode: 'random' }],
        }),
      ],
    });
  });

  it('is the same after JSON, and passes its check', () => {
    const copy: unknown = JSON.parse(JSON.stringify(spec));
    expect(copy).toEqual(spec);
    expect(() => checkGraphSpec('spec', copy)).not.toThrow();
  });
});

describe('checkGraphSpec', () => {
  const [python, front, , entry] = spec.services;
  const withServices = (...services: readonly object[]): object => ({ ...spec, services });
  const withEntry = (changed: object): object => withServices(...spec.services.slice(0, 3), { ...entry, ...changed });

  it.each<[string, unknown, string]>([
    ['no object', null, 'spec: expected an object, got null'],
    ['another version', { ...spec, schema: 'v2' }, `spec.schema: expected one of ${GRAPH_SCHEMA}, got "v2"`],
    ['an unknown field', { ...spec, extra: 1 }, 'spec.extra: unknown option'],
    ['no services', { ...spec, services: undefined }, 'spec.services: expected an array of'],
    ['a hostile name', { ...spec, name: '../../etc' }, 'spec.name: expected letters, digits and hyphens'],
    ['an entry that is no service', { ...spec, entry: 'X' }, 'spec.entry: expected one of the services Vllm, Front'],
    ['a service without a name', withEntry({ name: undefined }), 'spec.services[3].name: expected a string'],
    [
      'a hostile name of a service',
      withServices({ ...front, name: 'a/b' }, entry!),
      'spec.services[0].name: expected l',
    ],
    ['a wrong namespace', withEntry({ namespace: 'a.b' }), 'spec.services[3].namespace: expected a name of a-z'],
    ['a wrong component', withEntry({ component: 'A' }), 'spec.services[3].component: expected a name of a-z'],
    ['an unknown role', withEntry({ role: 'boss' }), 'spec.services[3].role: expected one of frontend'],
    ['an abstract program', withEntry({ program: 'abstract' }), 'spec.services[3].program: expected one of code'],
    ['a negative number', withEntry({ workers: -1 }), 'spec.services[3].workers: expected an integer from 0'],
    ['a variable that is no text', withEntry({ env: { A: 1 } }), 'spec.services[3].env.A: expected a string, got 1'],
    ['an array as a configuration', withEntry({ config: [] }), 'spec.services[3].config: expected an object'],
    [
      'a dependency on no service',
      withEntry({ dependencies: [{ property: 'x', service: 'X', mode: 'random' }] }),
      'spec.services[3].dependencies[0].service: expected one of the services Vllm, Front, WordWorker, Entry, got "X"',
    ],
    [
      'an unknown mode',
      withEntry({ dependencies: [{ property: 'x', service: 'Front', mode: 'best' }] }),
      'spec.services[3].dependencies[0].mode: expected one of round_robin',
    ],
    [
      'an endpoint without a transport list',
      withEntry({ endpoints: [{ name: 'a', stream: true }] }),
      'spec.services[3].endpoints[0].transports: expected an array',
    ],
    [
      'one name twice',
      { ...withServices(front!, front!), entry: 'Front' },
      'spec.services[1].name: expected a name that',
    ],
    [
      'Python without a module',
      { ...withServices({ ...python, python: undefined }), entry: 'Vllm' },
      'spec.services[0].python: expected a module if and only if the program is python, got undefined',
    ],
    ['a module without Python', withEntry({ python: { module: 'm', args: [] } }), 'spec.services[3].python: expected'],
  ])('rejects %s with TypeError or RangeError', (_, value, message) => {
    expect(() => checkGraphSpec('spec', value as GraphSpec)).toThrow(message);
  });
});
