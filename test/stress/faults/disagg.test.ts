import { repeated } from '../../helpers/repeated.js';

process.env['ALL_FAULTS'] = '1';
repeated('disagg', () => import('../../lifecycle/disagg/faults.test.js'));
