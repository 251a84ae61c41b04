import { expect } from 'vitest';

import { within } from './wait.js';

const throws = (): never => {
  throw new Error('a trap');
};

/** Values that are wrong for the tested argument of each function. */
export const WRONG = [
  null,
  true,
  Number.NaN,
  -1,
  1n,
  Symbol('x'),
  [Symbol('x')],
  Object.create(null),
  () => {},
  new Proxy({}, { get: throws, has: throws, ownKeys: throws }),
];

export const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A call with its first argument open, and which of WRONG are valid for it, if any. */
export type Case = [(wrong: never) => unknown, ((value: unknown) => boolean)?];

/** Passes each wrong argument to a call, and returns their number. */
export async function expectRefusals([call, right = () => false]: Case): Promise<number> {
  let tried = 0;
  for (const wrong of WRONG) {
    if (right(wrong)) continue;
    tried += 1;
    const error = (await within(10_000, 'the call', (async () => call(wrong as never))()).then(
      () => new Error('it took it'),
      (thrown: unknown) => thrown,
    )) as Error;
    if (error.message === 'a trap') continue;
    expect(error, String(error)).toMatchObject({
      name: expect.stringMatching(/^(TypeError|RangeError)$/),
      message: expect.stringMatching(/: (expected .*, got |unknown (option|name); known are )/s),
    });
  }
  return tried;
}
