import { describeFuzz } from '../../helpers/fuzz/harness.js';
import { fuzzTargets } from '../../helpers/fuzz/targets/index.js';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 60);

describeFuzz(fuzzTargets, SECONDS);
