import test from 'node:test';
import { failingTest } from '../failing-test.js';

test('fails', { timeout: 15_000 }, (t) => failingTest(t));
