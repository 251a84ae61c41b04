import { repeated } from '../../helpers/repeated.js';

repeated('disagg', () => import('../../helpers/disagg/all-faults.js'));
