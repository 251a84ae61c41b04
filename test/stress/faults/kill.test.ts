import { repeated } from '../../helpers/repeated.js';

repeated('kill', () => import('../../lifecycle/runtime/kill.test.js'));
