import type { Schema } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { unknownKeysOf, validate } from '../../../lib/sdk/schema.js';

describe('a schema', () => {
  const schema = z.object({
    text: z.string(),
    items: z.array(z.object({ size: z.coerce.number() })).default([]),
  });

  it('returns what it makes of the value', async () => {
    expect(await validate('request', schema, { text: 'a', items: [{ size: '3' }] })).toEqual({
      text: 'a',
      items: [{ size: 3 }],
    });
    expect(await validate('request', schema, { text: 'a' })).toEqual({ text: 'a', items: [] });
  });

  it('rejects a value with the paths of all faults', async () => {
    await expect(validate('request', schema, { items: [{ size: 1 }, { size: 'x' }] })).rejects.toMatchObject({
      name: 'DynamoError',
      code: 'DYN_INVALID_REQUEST',
      reason: 'request.invalid',
      message:
        'request.text: Invalid input: expected string, received undefined; ' +
        'request.items[1].size: Invalid input: expected number, received NaN',
    });
  });

  it('of another library may have objects as parts of paths, and may be asynchronous', async () => {
    const other: Schema<unknown, unknown> = {
      '~standard': {
        version: 1,
        vendor: 'other',
        validate: async () => ({
          issues: [{ message: 'no', path: [{ key: 'a' }, 0, { key: 'b' }] }, { message: 'at all' }],
        }),
      },
    };
    await expect(validate('request', other, 1)).rejects.toThrow('request.a[0].b: no; request: at all');
  });

  it('names the keys that it would drop, at any depth', () => {
    const nested = z.object({ a: z.number(), inner: z.object({ b: z.number() }), open: z.looseObject({}) });
    expect(unknownKeysOf(nested, { a: 1, inner: { b: 1, c: 2 }, open: { any: 1 }, d: 3 })).toEqual([
      { keys: ['inner', 'c'], known: ['b'] },
      { keys: ['d'], known: ['a', 'inner', 'open'] },
    ]);
    expect(
      unknownKeysOf(
        z.object({ a: z.string().transform(Number) }).transform(() => ({ z: 1 })),
        { a: '1' },
      ),
    ).toEqual([]);
    expect(unknownKeysOf(z.string(), { a: 1 })).toEqual([]);
  });
});
