import { repeated } from '../../helpers/repeated.js';

repeated('router-kill', () => import('../../lifecycle/router/kill.test.js'));
