import { repeated } from '../../helpers/repeated.js';

repeated('cancel', () => import('../../integration/runtime/cancel.test.js'));
