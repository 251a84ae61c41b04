import { beforeEach, describe } from 'vitest';

import { describeBoundaries } from '../../helpers/nixl/boundaries.js';
import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';

useTransport('ucx');

describe('the boundaries of NIXL', () => {
  describe('on the mock', () => describeBoundaries('mock'));

  describe('on UCX', () => {
    beforeEach((context) => {
      const missing = nixlMissing();
      if (missing !== undefined) context.skip(missing);
    });
    describeBoundaries('ucx');
  });
});
