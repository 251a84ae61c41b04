import type { FuzzTarget } from '../harness.js';
import { batchesTarget } from './batches.js';
import { decodeTarget } from './decode.js';
import { encodeTarget } from './encode.js';
import { hashesTarget } from './hashes.js';
import { optionsTarget } from './options.js';
import { packedTarget } from './packed.js';
import { requestsTarget } from './requests.js';
import { valuesTarget } from './values.js';
import { wordsTarget } from './words.js';

/** Every target, in the order of its run. */
export const fuzzTargets: readonly FuzzTarget[] = [
  decodeTarget,
  encodeTarget,
  packedTarget,
  wordsTarget,
  hashesTarget,
  optionsTarget,
  batchesTarget,
  requestsTarget,
  valuesTarget,
];
