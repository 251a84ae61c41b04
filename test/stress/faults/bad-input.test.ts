import { repeated } from '../../helpers/repeated.js';

repeated('bad-input', () => import('../../integration/runtime/bad-input.test.js'));
