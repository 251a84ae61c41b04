import { describeFaults } from '../../helpers/disagg/fault-trials.js';

describeFaults('mock', 'first');
describeFaults('mock', 'together');
