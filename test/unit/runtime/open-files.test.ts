import { describe, expect, it } from 'vitest';

import { openFileLimit, openFileSettings } from '../../../lib/runtime/open-files.js';

const settings = (running: string, waiting = '1024') => ({
  DYN_TCP_WORKER_POOL_SIZE: running,
  DYNAMO_NODE_WORKER_POOL_SIZE: running,
  DYN_TCP_WORK_QUEUE_SIZE: waiting,
});

describe('the settings for a limit of open files', () => {
  it.each([
    [16, '1'],
    [120, '28'],
    [1024, '480'],
    [20_000, '9968'],
  ])('let a process that may open %d files run %s requests at a time', (limit, running) => {
    expect(openFileSettings(limit, {})).toEqual(settings(running));
  });

  it.each([20_064, 1_048_576, undefined])('keep the defaults for a limit of %s', (limit) => {
    expect(openFileSettings(limit, {})).toEqual({});
  });

  it('keep what the environment sets', () => {
    expect(openFileSettings(120, { DYN_TCP_WORKER_POOL_SIZE: '5' })).toEqual({});
    expect(openFileSettings(120, { DYN_ENGINE_REQUEST_LIMIT: '5' })).toEqual({});
    expect(openFileSettings(120, { DYN_TCP_WORK_QUEUE_SIZE: '5' })).not.toHaveProperty('DYN_TCP_WORK_QUEUE_SIZE');
  });

  it.each([
    [120, '28'],
    [1_048_576, '10000'],
  ])('replace those that a process with the limit %d has inherited', (limit, running) => {
    const inherited = settings('480');
    expect({ ...inherited, ...openFileSettings(limit, inherited) }).toEqual(settings(running));
    expect(openFileSettings(limit, { ...inherited, DYN_TCP_WORKER_POOL_SIZE: '5' })).toEqual({});
  });

  it('read the limit of this process', () => {
    expect(openFileLimit()).toSatisfy((limit: number | undefined) => limit === undefined || limit > 0);
  });
});
