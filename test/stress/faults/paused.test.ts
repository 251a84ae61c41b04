import { repeated } from '../../helpers/repeated.js';

repeated('paused', () => import('../../lifecycle/runtime/paused.test.js'));
