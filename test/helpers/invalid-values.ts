import { expect } from 'vitest';

import { within } from './wait.js';

const throws = (): never => {
  throw new Error('a trap');
};

/** What none of these functions takes for the argument that is tried. */
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

/** A call with its first argument open, and which of WRONG are right for it, if any. */
export type Case = [(wrong: never) => unknown, ((value: unknown) => boolean)?];

/** Gives a call each wrong argument, and gives back how many. */
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
      message: expect.stringMatching(/: (expected .*, got |unknown option; known are )/s),
    });
  }
  return tried;
}
