// Keeps vitest from the configuration of this repository. A project needs none.
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { cache: false } });
