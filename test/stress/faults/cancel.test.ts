import { repeated } from '../../helpers/repeated.js';

repeated('cancel', () => import('../../integration/cancel.test.js'));
