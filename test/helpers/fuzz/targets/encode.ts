import { isDeepStrictEqual } from 'node:util';

import { DynamoError } from 'dynamo-node';

import { pack, packArgs, packBorrowed, packValue, unpack } from '../../../../lib/addon/codec.js';
import type { FuzzTarget } from '../harness.js';
import { FuzzInput } from '../input.js';
import { sampleOf } from '../values.js';

/** A value arrives as documented, or is `DYN_INVALID_REQUEST`, also if it packs other values in between. */
export const encodeTarget: FuzzTarget = {
  name: 'encode',
  open: () => (bytes) => {
    const input = new FuzzInput(bytes);
    const packer = input.pick([pack, packBorrowed, packArgs]);
    const { value, read, isRefused = false } = sampleOf(input);
    let packed: Uint8Array;
    try {
      packed = packValue('fuzz', 'the value', value, packer);
    } catch (error) {
      if (isRefused && DynamoError.is(error) && error.code === 'DYN_INVALID_REQUEST') return;
      throw error;
    }
    if (isRefused) throw new Error('a part that cannot be sent was packed');
    const got = unpack(packed);
    if (!isDeepStrictEqual(got, read)) throw new Error('the reader gets another value');
  },
};
