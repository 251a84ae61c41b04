import { repeated } from '../../helpers/repeated.js';

repeated('bad-input', () => import('../../integration/bad-input.test.js'));
