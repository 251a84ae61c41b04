import { describeFuzz } from '../../helpers/fuzz/harness.js';
import { fuzzTargets } from '../../helpers/fuzz/targets/index.js';

/** `npm run fuzz` runs each for longer. */
const SECONDS = 5;
/** The same inputs in every run: a test of a change must not fail for another reason. */
const FIRST_SEED = 1;

describeFuzz(fuzzTargets, SECONDS, FIRST_SEED);
