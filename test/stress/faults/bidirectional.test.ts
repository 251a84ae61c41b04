import { repeated } from '../../helpers/repeated.js';

repeated('bidirectional', () => import('../../integration/bidirectional.test.js'));
