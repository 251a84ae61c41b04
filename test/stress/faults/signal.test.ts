import { repeated } from '../../helpers/repeated.js';

repeated('signal', () => import('../../lifecycle/runtime/signal.test.js'));
