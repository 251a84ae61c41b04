import { repeated } from '../../helpers/repeated.js';

repeated('abandon', () => import('../../lifecycle/runtime/abandon.test.js'));
