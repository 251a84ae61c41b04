import { describeFuzz } from '../../helpers/fuzz/harness.js';
import { fuzzTargets } from '../../helpers/fuzz/targets/index.js';

/** `npm run fuzz` runs each for longer. */
const SECONDS = 5;

describeFuzz(fuzzTargets, SECONDS);
