import { repeated } from '../../helpers/repeated.js';

repeated('paused', () => import('../../lifecycle/paused.test.js'));
