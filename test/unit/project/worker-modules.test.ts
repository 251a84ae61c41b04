import { describe, expect, it } from 'vitest';

import { importsOf, parse, targetOf } from '../../../scripts/lint/source.mjs';
import { root } from '../../helpers/project.js';

/** The modules that a worker of code loads: the program, and what it imports before the graph. */
const ENTRIES = ['deploy/local/worker', 'sdk/host', 'runtime/distributed-runtime', 'llm/served-requests'];

const loaded = new Set(ENTRIES.map((name) => `lib/${name}.ts`));
for (const file of loaded)
  for (const { specifier, isType, isLazy } of importsOf(parse(root, file)))
    if (specifier.startsWith('.') && !isType && !isLazy) loaded.add(targetOf(file, specifier));

describe('a worker of code', () => {
  it('loads no engine, no frontend, no router and no planner, which would slow its start', () => {
    const rooms = /^lib\/(llm|router|kvbm|nixl|disagg|vllm|planner|dashboard|cli)\//;
    expect([...loaded].filter((file) => rooms.test(file))).toEqual(['lib/llm/served-requests.ts']);
    expect(loaded.size).toBeGreaterThan(50);
  });
});
