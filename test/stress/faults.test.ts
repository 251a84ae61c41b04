import { describe } from 'vitest';

const TIMES = Number(process.env['TIMES'] ?? 10);

/** The tests of faults that `npm test` makes once, many times over: each kills, aborts or pauses at another moment. */
const FAULTS = ['abandon', 'kill', 'paused', 'router-kill', 'signal'].map((name) => `../lifecycle/${name}.test.ts`);
const INTEGRATION = ['bad-input', 'cancel', 'leaving', 'llm-migration'].map((name) => `../integration/${name}.test.ts`);

describe.each([...FAULTS, ...INTEGRATION])(`%s, ${TIMES} times`, { repeats: TIMES - 1 }, async (path) => {
  await import(path);
});
