import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import {
  breaches,
  breachOfImport,
  breachOfInclude,
  circles,
  impurities,
  isPure,
} from '../../../scripts/check-layers.mjs';

const parse = (code: string) => ts.createSourceFile('planted.ts', code, ts.ScriptTarget.Latest, true);

const value = (specifier: string) => ({ specifier, isType: false });
const lazy = (specifier: string) => ({ specifier, isType: false, isLazy: true });
const type = (specifier: string) => ({ specifier, isType: true });

describe('the dependency rule', () => {
  it('holds in this checkout', () => {
    expect(breaches()).toEqual([]);
  });

  it.each([
    ['runtime/client.ts', '../addon/native.js'],
    ['router/router.ts', '../kvbm/tokens.js'],
    ['kvbm/tiers.ts', '../nixl/agent.js'],
    ['llm/worker.ts', './engine.js'],
    ['llm/worker.ts', '../errors.js'],
    ['disagg/prefill.ts', '../llm/worker.js'],
    ['planner/planner.ts', '../sdk/graph.js'],
    ['deploy/local/supervisor.ts', '../../planner/scaler.js'],
    ['cli/run.ts', '../dashboard/server.js'],
    ['index.ts', './sdk/service.js'],
    ['testing/index.ts', '../nixl/library.js'],
    ['planner/planner.ts', 'node:timers'],
    ['addon/load.ts', 'node-gyp-build'],
    ['nixl/diagnosis/doctor.ts', '../agent.js'],
    ['nixl/diagnosis/doctor.ts', './format.js'],
    ['options.ts', './check.js'],
    ['check.ts', './errors.js'],
    ['sdk/graph.ts', './graph-spec.js'],
    ['sdk/host.ts', '../runtime/distributed-runtime.js'],
  ])('lets %s import %s', (file, specifier) => {
    expect(breachOfImport(file, specifier)).toBeUndefined();
  });

  it.each([
    ['runtime/client.ts', '../llm/worker.js', 'runtime may not import llm'],
    ['nixl/agent.ts', '../kvbm/tiers.js', 'nixl may not import kvbm'],
    ['nixl/agent.ts', './diagnosis/doctor.js', 'nixl may not import nixl/diagnosis'],
    ['errors.ts', './check.js', 'errors may not import ground'],
    ['options.ts', './runtime/client.js', 'ground may not import runtime'],
    ['disagg/prefill.ts', '../vllm/peer.js', 'disagg may not import vllm'],
    ['vllm/peer.ts', '../disagg/handoff.js', 'vllm may not import disagg'],
    ['planner/planner.ts', '../deploy/local/supervisor.js', 'planner may not import deploy'],
    ['llm/worker.ts', '../cli/run.js', 'llm may not import cli'],
    ['llm/worker.ts', '../index.js', 'llm may not import index'],
    ['llm/worker.ts', '../testing/index.js', 'llm may not import testing'],
    ['runtime/client.ts', 'node-gyp-build', 'only lib/addon may load the addon'],
    ['unheard/of.ts', '../errors.js', "the room 'unheard' is not in the order"],
    ['options.ts', 'node:fs', "a pure file may not import 'node:fs'"],
    ['sdk/graph.ts', '../runtime/client.js', 'a pure file may not import lib/runtime/client.ts'],
    ['sdk/graph.ts', './host.js', 'a pure file may not import lib/sdk/host.ts'],
    ['planner/core/decide.ts', 'msgpackr', "a pure file may not import 'msgpackr'"],
    ['deploy/kubernetes/manifest.ts', './client.js', 'a pure file may not import lib/deploy/kubernetes/client.ts'],
    ['dashboard/snapshot.ts', '../planner/planner.js', 'a pure file may not import lib/planner/planner.ts'],
  ])('keeps %s from importing %s', (file, specifier, reason) => {
    expect(breachOfImport(file, specifier)).toContain(reason);
  });

  it('keeps N-API out of the core and the core out of NIXL', () => {
    expect(breachOfInclude('core', 'src/shim.c', 'node_api.h')).toBeTypeOf('string');
    expect(breachOfInclude('nixl', 'backend.h', 'napi.h')).toBeTypeOf('string');
    expect(breachOfInclude('nixl', 'backend.h', 'dynamo_core.h')).toBeTypeOf('string');
    expect(breachOfInclude('nixl', 'real.cc', 'backend.h')).toBeUndefined();
  });
});

describe('a pure file', () => {
  it('is a ground file or one that only decides', () => {
    const files = ['errors.ts', 'words.ts', 'sdk/graph.ts', 'planner/core/decide.ts', 'dashboard/snapshot.ts'];
    expect(files.filter((file) => !isPure(file))).toEqual([]);
    expect(['index.ts', 'sdk/host.ts', 'planner/planner.ts', 'runtime/client.ts'].filter(isPure)).toEqual([]);
  });

  it.each([
    'const now = Date.now();',
    'const today = new Date();',
    'const start = performance.now();',
    'setTimeout(() => {}, 1);',
    'if (process.env.HOME) throw new Error();',
    "const fs = require('node:fs');",
  ])('may not contain %s', (code) => {
    expect(impurities(parse(`\n${code}`))).toEqual([expect.stringMatching(/^planted\.ts:2: a pure file may not use /)]);
  });

  it('may name the process and take dates as values', () => {
    expect(impurities(parse('// process\nconst day = new Date(now); const id = worker.process;'))).toEqual([]);
  });
});

describe('circles', () => {
  it('are found among imports', () => {
    const files = new Map([
      ['lib/nixl/a.ts', [value('./b.js')]],
      ['lib/nixl/b.ts', [value('../kvbm/c.js')]],
      ['lib/kvbm/c.ts', [value('../nixl/a.js')]],
      ['lib/kvbm/d.ts', [value('./c.js')]],
    ]);
    expect(circles(files)).toEqual(['a circle of imports: lib/kvbm/c.ts, lib/nixl/a.ts, lib/nixl/b.ts']);
  });

  it('are not closed by a lazy import', () => {
    const files = new Map([
      ['lib/cli/a.ts', [lazy('./b.js')]],
      ['lib/cli/b.ts', [type('./a.js'), value('./a.js')]],
    ]);
    expect(circles(files)).toEqual([]);
  });

  it('are found among types, except in nixl', () => {
    const between = (room: string) =>
      new Map([
        [`lib/${room}/a.ts`, [type('./b.js')]],
        [`lib/${room}/b.ts`, [value('./a.js')]],
      ]);
    expect(circles(between('kvbm'))).toEqual(['a circle of types: lib/kvbm/a.ts, lib/kvbm/b.ts']);
    expect(circles(between('nixl'))).toEqual([]);
  });
});
