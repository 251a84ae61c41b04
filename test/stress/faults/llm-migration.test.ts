import { repeated } from '../../helpers/repeated.js';

repeated('llm-migration', () => import('../../integration/llm/migration.test.js'));
