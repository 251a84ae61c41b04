import {
  applyConfig,
  argumentsOf,
  type ConfigSource,
  checkConfig,
  checkGraphSpec,
  defineService,
  depends,
  graph,
  mergeConfig,
  parseOverrides,
  pythonService,
} from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { misplacedArgs } from '../../../lib/sdk/config-check.js';

const from = (data: unknown): ConfigSource => ({
  data,
  placeOf: (path, part = 'value') => `${part} ${path.join('/')}`,
});

const merge = (data: unknown, ...overrides: string[]) =>
  mergeConfig(['Frontend', 'Worker'], [from(data), parseOverrides(overrides)]).services;

/** The value that one argument sets. */
const parsedOf = (...args: string[]) => merge({}, ...args).Worker?.config.k;

describe('arguments of a command line', () => {
  it.each([
    ['64', 64],
    ['0.5', 0.5],
    ['+5', 5],
    ['.5', 0.5],
    ['007', 7],
    ['-1e3', -1000],
    ['true', true],
    ['False', false],
    ['null', null],
    ['text', 'text'],
    ['', ''],
    ['a=b', 'a=b'],
    ['3P2D', '3P2D'],
    ['"64"', '64'],
    ['[1, "a"]', [1, 'a']],
    ['{"a": {"b": 1}}', { a: { b: 1 } }],
    ['{broken', '{broken'],
    ['two\nlines', 'two\nlines'],
    ['12345678901234567890', '12345678901234567890'],
  ])('read the text %j as %j', (text, value) => {
    expect(parsedOf(`--Worker.k=${text}`)).toEqual(value);
  });

  it('take a value after a space', () => {
    expect(parsedOf('--Worker.k', 'text')).toBe('text');
    expect(merge({}, '--Worker.a', '1', '--Worker.b=2').Worker?.config).toEqual({ a: 1, b: 2 });
  });

  it('set fields at any depth, and the last one wins', () => {
    const { Worker } = merge({}, '--Worker.a.b.c=1', '--Worker.a.b.d=2', '--Worker.a.e=3', '--Worker.a.e=4');
    expect(Worker?.config).toEqual({ a: { b: { c: 1, d: 2 }, e: 4 } });
  });

  it('keep environment variables as text', () => {
    const { Worker } = merge({}, '--Worker.ServiceArgs.envs.A=1', '--Worker.ServiceArgs.env.B=true');
    expect(Worker?.env).toEqual({ A: '1', B: 'true' });
  });

  it('do not reach the prototype of objects', () => {
    const { Worker } = merge({}, '--Worker.__proto__.polluted=1', '--Worker.constructor.prototype.polluted=1');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(Object.keys(Worker?.config ?? {})).toEqual(['__proto__', 'constructor']);
  });

  it.each([
    [['--Worker'], '--Worker: expected --Service.key=value'],
    [['Worker.a=1'], 'Worker.a=1: expected --Service.key=value'],
    [['--Worker.a=1', 'stray'], 'stray: expected --Service.key=value'],
    [['--Worker.=1'], '--Worker.=1: expected --Service.key=value'],
    [['--Worker.a..b=1'], '--Worker.a..b=1: expected a key between two dots'],
    [['--Worker.a'], '--Worker.a: expected a value'],
    [['--Worker.a', '-5'], "--Worker.a: write a value that begins with '-' after '='"],
    [['--Worker.a', '--Worker.b=1'], "--Worker.a: write a value that begins with '-' after '='"],
  ])('%j are rejected with ConfigError', (args, message) => {
    expect(() => parseOverrides(args)).toThrow(
      expect.objectContaining({
        name: 'ConfigError',
        reason: 'config.bad_argument',
        message: `Error parsing service arg: ${message}`,
      }),
    );
  });
});

describe('a merged configuration', () => {
  it('separates ServiceArgs from parameters', () => {
    const args = { workers: 2, resources: { gpu: 1 }, image: 'img', env: { A: '1' }, labels: { 'app/x': 'y' } };
    expect(merge({ Worker: { ServiceArgs: args, model: 'm' } })).toEqual({
      Worker: { ...args, config: { model: 'm' } },
    });
  });

  it('merges the command line into the file at any depth, and replaces arrays', () => {
    const file = { Worker: { a: { b: 1, c: 2 }, list: [1, 2], ServiceArgs: { resources: { cpu: '3', gpu: 1 } } } };
    const { Worker } = merge(file, '--Worker.a.c=3', '--Worker.list=[9]', '--Worker.ServiceArgs.resources.gpu=2');
    expect(Worker).toEqual({ config: { a: { b: 1, c: 3 }, list: [9] }, resources: { cpu: '3', gpu: 2 } });
  });

  it('lets the command line win whether a variable stands in env or in envs', () => {
    const { Worker } = merge(
      { Worker: { ServiceArgs: { envs: { A: 'file', B: 'file' } } } },
      '--Worker.ServiceArgs.env.A=flag',
    );
    expect(Worker?.env).toEqual({ A: 'flag', B: 'file' });
  });

  it('gives a service the common keys that it lists and does not set', () => {
    const Common = { model: 'm', 'block-size': 64, unused: 1 };
    const Worker = { 'common-configs': ['model', 'block-size'], 'block-size': 16 };
    expect(merge({ Common, Worker, Frontend: {} })).toEqual({
      Frontend: { config: {} },
      Worker: { config: { model: 'm', 'block-size': 16 } },
    });
    expect(merge({ Common, Worker }, '--Common.model=n').Worker?.config.model).toBe('n');
  });

  it('turns amounts into the form of the code', () => {
    const { Worker } = merge({ Worker: { ServiceArgs: { resources: { cpu: 3, memory: 1024, gpu: '2' } } } });
    expect(Worker?.resources).toEqual({ cpu: '3', memory: '1024', gpu: 2 });
  });

  it('accepts empty sections', () => {
    expect(merge(null)).toEqual({});
    expect(merge({ Common: null, Worker: null, Frontend: { ServiceArgs: null } })).toEqual({
      Worker: { config: {} },
      Frontend: { config: {} },
    });
  });

  it.each([
    ['a list', 'the configuration: expected an object, got "a list" (value )'],
    [{ Wroker: {} }, 'Wroker: unknown service; known are Common, Frontend, Worker (key Wroker)'],
    [{ Worker: 3 }, 'Worker: expected an object, got 3 (value Worker)'],
    [{ Common: [] }, 'Common: expected an object, got an empty array (value Common)'],
    [
      { Worker: { ServiceArgs: { worker: 1 } } },
      'Worker.ServiceArgs.worker: unknown key; known are workers, resources, image, env, envs, labels ' +
        '(key Worker/ServiceArgs/worker)',
    ],
    [
      { Worker: { ServiceArgs: { workers: 'two' } } },
      'Worker.ServiceArgs.workers: expected an integer, got "two" (value Worker/ServiceArgs/workers)',
    ],
    [
      { Worker: { ServiceArgs: { workers: -1 } } },
      'Worker.ServiceArgs.workers: expected an integer from 0 to 1024, got -1 ' + '(value Worker/ServiceArgs/workers)',
    ],
    [
      { Worker: { ServiceArgs: { resources: { gpu: 1.5 } } } },
      'Worker.ServiceArgs.resources.gpu: expected a whole number of GPUs, or a fraction below 1, got 1.5 ' +
        '(value Worker/ServiceArgs/resources/gpu)',
    ],
    [
      { Worker: { ServiceArgs: { resources: { memory: '10GB' } } } },
      `Worker.ServiceArgs.resources.memory: expected a memory amount like '10Gi' or '1024Mi', got "10GB" ` +
        '(value Worker/ServiceArgs/resources/memory)',
    ],
    [
      { Worker: { ServiceArgs: { env: { A: 1 } } } },
      'Worker.ServiceArgs.env.A: expected text in quotes, got 1 (value Worker/ServiceArgs/env/A)',
    ],
    [
      { Worker: { 'common-configs': 'model' } },
      `Worker.common-configs: expected an array of names of 'Common', got "model" (value Worker/common-configs)`,
    ],
    [
      { Worker: { 'common-configs': ['model'] } },
      "Worker.common-configs: 'Common' has no key 'model' (value Worker/common-configs/0)",
    ],
  ])('rejects %j with ConfigError and the place', (data, message) => {
    expect(() => merge(data)).toThrow(expect.objectContaining({ name: 'ConfigError', message }));
  });

  it('names the flag of a wrong value', () => {
    expect(() => merge({}, '--Worker.ServiceArgs.workers=two')).toThrow(
      'Worker.ServiceArgs.workers: expected an integer, got "two" (--Worker.ServiceArgs.workers)',
    );
    expect(() => merge({}, '--Wroker.a=1')).toThrow('known are Common, Frontend, Worker (--Wroker.a)');
  });
});

describe('a graph with a configuration', () => {
  const Python = pythonService(
    'Python',
    { module: 'dynamo.vllm', args: ['--model', 'm'] },
    { env: { A: '1', B: '1' } },
  );
  const Worker = defineService('Worker', { workers: 2, resources: { cpu: '3', gpu: 1 }, labels: { a: 'b' } });
  const Frontend = defineService('Frontend', { deps: { worker: depends(Worker) }, image: 'code' });
  const spec = graph('g', Frontend).with(Python).toJSON();
  const applied = (data: unknown) =>
    applyConfig(spec, mergeConfig(['Frontend', 'Worker', 'Python'], [from(data)])).services;

  it('has what the configuration sets, and the rest of the code', () => {
    const services = applied({
      Frontend: { ServiceArgs: { image: 'file' } },
      Worker: { ServiceArgs: { workers: 5, resources: { gpu: 2 } }, size: 3 },
      Python: { ServiceArgs: { env: { B: '2', C: '3' } }, 'block-size': 64, 'enforce-eager': false },
    });
    expect(services).toMatchObject([
      {
        name: 'Python',
        python: { args: ['--model', 'm', '--block-size', '64', '--no-enforce-eager'] },
        env: { A: '1', B: '2', C: '3' },
        config: {},
      },
      { name: 'Worker', workers: 5, resources: { cpu: '3', gpu: 2 }, labels: { a: 'b' }, config: { size: 3 } },
      { name: 'Frontend', workers: 1, image: 'file' },
    ]);
    expect(() => checkGraphSpec('spec', { ...spec, services })).not.toThrow();
  });

  it('is the same graph without a configuration', () => {
    expect(applied({})).toEqual(spec.services);
  });

  it('turns parameters into arguments of Python', () => {
    const parameters = { a: 'x y', b: 0.5, on: true, off: false, none: null, many: [1, 'two'], json: { k: [1] } };
    expect(argumentsOf(parameters)).toEqual([
      '--a',
      'x y',
      '--b',
      '0.5',
      '--on',
      '--no-off',
      '--many',
      '1',
      'two',
      '--json',
      '{"k":[1]}',
    ]);
  });
});

describe('misplacedArgs', () => {
  const misplaced = (data: unknown, service = defineService('Worker')) =>
    misplacedArgs(graph('g', service), mergeConfig(['Worker'], [from(data)]));

  it.each(['workers', 'resources', 'image', 'env', 'envs', 'labels'])('names %s beside ServiceArgs', (key) => {
    expect(misplaced({ Worker: { [key]: 2 } })).toEqual([
      `Worker.${key} is a parameter of the service; its option is Worker.ServiceArgs.${key} (key Worker/${key})`,
    ]);
  });

  it('names those of the command line by their flag', () => {
    const config = mergeConfig(['Worker'], [parseOverrides(['--Worker.workers=2', '--Worker.env.A', '1'])]);
    expect(misplacedArgs(graph('g', defineService('Worker')), config)).toEqual([
      'Worker.workers is a parameter of the service; its option is Worker.ServiceArgs.workers (--Worker.workers)',
      'Worker.env is a parameter of the service; its option is Worker.ServiceArgs.env (--Worker.env.A)',
    ]);
  });

  it('names none in ServiceArgs, of another name or depth, of a schema, and of a program of Python', () => {
    expect(misplaced({ Worker: { ServiceArgs: { workers: 2 }, Workers: 1, pool: { workers: 3 } } })).toEqual([]);
    expect(misplaced({})).toEqual([]);
    const declared = defineService('Worker', { config: z.object({ workers: z.number() }) });
    expect(misplaced({ Worker: { workers: 2 } }, declared)).toEqual([]);
    const python = graph('g', pythonService('Worker', { module: 'pool' }));
    expect(misplacedArgs(python, mergeConfig(['Worker'], [from({ Worker: { workers: 2 } })]))).toEqual([]);
  });
});

describe('parameters with a schema', () => {
  const size = z.object({ 'block-size': z.number().default(16), nested: z.object({ a: z.string() }).optional() });
  const Worker = defineService('Worker', { config: size });
  const one = graph('g', Worker);
  const check = (data: unknown, of = one) => checkConfig(of, mergeConfig(['Worker'], [from(data)]));

  it('pass if the schema accepts them, also without a section', async () => {
    await expect(check({ Worker: { 'block-size': 64 } })).resolves.toBeUndefined();
    await expect(check({})).resolves.toBeUndefined();
  });

  it('are rejected with the path and the place of the value', async () => {
    await expect(check({ Worker: { 'block-size': 'x' } })).rejects.toThrow(
      'Worker.block-size: Invalid input: expected number, received string (value Worker/block-size)',
    );
  });

  it('are rejected with all faults at once', async () => {
    await expect(check({ Worker: { 'block-size': 'x', nested: { a: 1 } } })).rejects.toThrow(
      /Worker\.block-size: .*\nWorker\.nested\.a: .*\(value Worker\/nested\/a\)$/,
    );
  });

  it('are rejected if the schema does not declare them', async () => {
    await expect(check({ Worker: { 'blok-size': 1 } })).rejects.toThrow(
      'Worker.blok-size: unknown key; known are block-size, nested (key Worker/blok-size)',
    );
    await expect(check({ Worker: { nested: { a: 'x', b: 1 } } })).rejects.toThrow(
      'Worker.nested.b: unknown key; known are a (key Worker/nested/b)',
    );
    await expect(check({ Worker: { workers: 2 } })).rejects.toThrow(
      'Worker.workers: unknown key; known are block-size, nested. ' +
        'The option of the service is Worker.ServiceArgs.workers (key Worker/workers)',
    );
    await expect(check({ Worker: { nested: { a: 'x', workers: 1 } } })).rejects.toThrow(
      'Worker.nested.workers: unknown key; known are a (key Worker/nested/workers)',
    );
  });

  it('may be any if the schema is open or cannot describe itself', async () => {
    const open = defineService('Worker', { config: z.looseObject({ a: z.string().optional() }) });
    await expect(check({ Worker: { b: 1 } }, graph('g', open))).resolves.toBeUndefined();
    const dates = defineService('Worker', { config: z.object({ a: z.date().optional() }) });
    await expect(check({ Worker: { b: 1 } }, graph('g', dates))).resolves.toBeUndefined();
  });

  it('name the common section if the value comes from it', async () => {
    const { placeOf, ...config } = mergeConfig(
      ['Worker'],
      [
        {
          data: { Common: { 'block-size': 'x' }, Worker: { 'common-configs': ['block-size'] } },
          placeOf: ([first], part = 'value') => (first === 'Common' ? `${part} of Common` : undefined),
        },
      ],
    );
    await expect(checkConfig(one, { ...config, placeOf })).rejects.toThrow('received string (value of Common)');
  });
});
