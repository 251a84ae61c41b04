import { isDeepStrictEqual } from 'node:util';

import { DynamoError } from 'dynamo-node';

import { unpack } from '../../../../lib/addon/codec.js';
import type { FuzzTarget } from '../harness.js';
import { referenceDecode } from '../reference-decoder.js';

type Outcome = { readonly value: unknown } | undefined;

function attempt(read: () => unknown): Outcome {
  try {
    return { value: read() };
  } catch {
    return undefined;
  }
}

/** Bytes from a peer are a value or `DYN_INVALID_REQUEST`, as a second reader finds. */
export const decodeTarget: FuzzTarget = {
  name: 'decode',
  open: () => (input) => {
    let outcome: Outcome;
    try {
      outcome = { value: unpack(input) };
    } catch (error) {
      if (!DynamoError.is(error) || error.code !== 'DYN_INVALID_REQUEST') throw error;
    }
    const expected = attempt(() => referenceDecode(input));
    if (!isDeepStrictEqual(outcome, expected))
      throw new Error(`expected ${expected === undefined ? 'a rejection' : 'another value'}`);
  },
};
