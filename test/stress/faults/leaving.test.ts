import { repeated } from '../../helpers/repeated.js';

repeated('leaving', () => import('../../integration/leaving.test.js'));
