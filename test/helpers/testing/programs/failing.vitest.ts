import { it } from 'vitest';
import { failingTest } from '../failing-test.js';

it('fails', { timeout: 15_000 }, (context) => failingTest(context));
