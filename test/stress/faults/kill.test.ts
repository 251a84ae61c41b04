import { repeated } from '../../helpers/repeated.js';

repeated('kill', () => import('../../lifecycle/kill.test.js'));
