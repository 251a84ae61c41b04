import { repeated } from '../../helpers/repeated.js';

repeated('signal', () => import('../../lifecycle/signal.test.js'));
