import { beforeEach, describe } from 'vitest';
import { describeLives } from '../../helpers/nixl/close-states.js';
import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';

useTransport('ucx');

const LIVES = Number(process.env['LIVES'] ?? 10_000);

describe('NIXL on UCX', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });
  describeLives('ucx', LIVES, LIVES * 1000);
});
