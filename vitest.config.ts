import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const folders = (process.env.DYNAMO_TEST_FOLDERS ?? 'unit,native,integration,servers,interop,lifecycle,types').split(
  ',',
);

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^dynamo-node$/, replacement: source('lib/index.ts') },
      { find: /^dynamo-node\/sdk$/, replacement: source('lib/sdk/index.ts') },
      { find: /^dynamo-node\/disagg$/, replacement: source('lib/disagg/index.ts') },
      { find: /^dynamo-node\/planner$/, replacement: source('lib/planner/index.ts') },
      { find: /^dynamo-node\/dashboard$/, replacement: source('lib/dashboard/index.ts') },
      { find: /^dynamo-node\/vllm$/, replacement: source('lib/vllm/index.ts') },
      { find: /^dynamo-node\/testing$/, replacement: source('lib/testing/index.ts') },
    ],
  },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 30_000 } },
    passWithNoTests: true,
    reporters: ['default', './test/helpers/summary-reporter.ts'],
    projects: folders.map((name) => ({
      extends: true as const,
      test:
        name === 'types'
          ? {
              name,
              include: [],
              typecheck: {
                enabled: true,
                only: true,
                include: ['test/types/**/*.test-d.ts'],
                tsconfig: 'tsconfig.check.json',
              },
            }
          : { name, include: [`test/${name}/**/*.test.ts`] },
    })),
  },
});
