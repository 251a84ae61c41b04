import { describe, expect, test } from 'vitest';
import { breaches, breachOfImport, breachOfInclude } from '../../../scripts/check-layers.mjs';

describe('the dependency rule', () => {
  test('holds in this checkout', () => {
    expect(breaches()).toEqual([]);
  });

  test.each([
    ['runtime/client.ts', '../addon/native.js'],
    ['router/router.ts', '../kvbm/tokens.js'],
    ['kvbm/tiers.ts', '../nixl/agent.js'],
    ['llm/worker.ts', './engine.js'],
    ['llm/worker.ts', '../errors.js'],
    ['cli/run.ts', '../planner/decide.js'],
    ['index.ts', './sdk/service.js'],
    ['planner/predictors.ts', 'node:timers'],
    ['addon/load.ts', 'node-gyp-build'],
  ])('lets %s import %s', (file, specifier) => {
    expect(breachOfImport(file, specifier)).toBeUndefined();
  });

  test.each([
    ['runtime/client.ts', '../llm/worker.js'],
    ['nixl/agent.ts', '../kvbm/tiers.js'],
    ['sdk/graph.ts', '../router/router.js'],
    ['errors.ts', './runtime/client.js'],
    ['llm/worker.ts', '../cli/run.js'],
    ['llm/worker.ts', '../index.js'],
    ['runtime/client.ts', 'node-gyp-build'],
    ['unheard/of.ts', '../errors.js'],
  ])('keeps %s from importing %s', (file, specifier) => {
    expect(breachOfImport(file, specifier)).toBeTypeOf('string');
  });

  test('keeps N-API out of the core and the core out of NIXL', () => {
    expect(breachOfInclude('core', 'src/shim.c', 'node_api.h')).toBeTypeOf('string');
    expect(breachOfInclude('nixl', 'backend.h', 'napi.h')).toBeTypeOf('string');
    expect(breachOfInclude('nixl', 'backend.h', 'dynamo_core.h')).toBeTypeOf('string');
    expect(breachOfInclude('nixl', 'real.cc', 'backend.h')).toBeUndefined();
  });
});
