import { describe, expectTypeOf, it } from 'vitest';

import { callback, integer, listOf, milliseconds, oneOf, optionTable, text } from '../../lib/options.js';

interface Example {
  readonly blockSize: number;
  readonly kind?: 'radix' | 'positional';
  readonly ttlMs?: number;
  readonly score?: (worker: bigint) => number;
  readonly labels?: readonly string[];
}

const rows = {
  blockSize: integer(1).required(),
  kind: oneOf('radix', 'positional'),
  ttlMs: milliseconds(1),
  score: callback<(worker: bigint) => number>(),
  labels: listOf(text),
};

describe('an option table', () => {
  it('checks an unknown value as its options', () => {
    const table = optionTable<Example>(rows);
    expectTypeOf(table.check).toBeFunction();
  });

  it('does not compile without a row for every option', () => {
    const { ttlMs: _, ...others } = rows;
    // @ts-expect-error `ttlMs` has no row
    optionTable<Example>(others);
  });

  it('does not compile with a row that no option has', () => {
    // @ts-expect-error `timeLimit` is no option
    optionTable<Example>({ ...rows, timeLimit: integer(1) });
  });

  it('does not compile if a choice is missing', () => {
    // @ts-expect-error 'positional' is missing
    optionTable<Example>({ ...rows, kind: oneOf('radix') });
  });

  it('does not compile if a required option may be absent', () => {
    // @ts-expect-error `blockSize` is required
    optionTable<Example>({ ...rows, blockSize: integer(1) });
  });
});
