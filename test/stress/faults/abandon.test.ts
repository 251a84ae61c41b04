import { repeated } from '../../helpers/repeated.js';

repeated('abandon', () => import('../../lifecycle/abandon.test.js'));
