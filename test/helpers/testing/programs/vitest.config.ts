import { defineConfig } from 'vitest/config';
import project from '../../../../vitest.config.js';

const { resolve } = project as { resolve: object };

export default defineConfig({ resolve, test: { include: ['test/helpers/testing/programs/*.vitest.ts'] } });
