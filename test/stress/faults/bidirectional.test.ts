import { repeated } from '../../helpers/repeated.js';

repeated('bidirectional', () => import('../../integration/runtime/bidirectional.test.js'));
