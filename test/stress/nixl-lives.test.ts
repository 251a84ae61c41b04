import { beforeEach, describe } from 'vitest';

import { nixlMissing, useTransport } from '../helpers/nixl/library.js';
import { describeLives } from '../helpers/nixl/lives.js';

useTransport('ucx');

const LIVES = Number(process.env['LIVES'] ?? 10_000);

describe('NIXL on UCX', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });
  describeLives('ucx', LIVES, LIVES * 1000);
});
