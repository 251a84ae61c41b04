import { repeated } from '../../helpers/repeated.js';

repeated('leaving', () => import('../../integration/runtime/leaving.test.js'));
