import { loadNixl, NixlLoadError } from 'dynamo-node';
import { beforeEach, describe } from 'vitest';

import { describeDevice } from '../helpers/nixl/device.js';
import { useTransport } from '../helpers/nixl/library.js';

useTransport('ucx');

/** Why there is no GPU to test with, or undefined where there is. */
function missing(): string | undefined {
  try {
    const { available, reason } = loadNixl({ mode: 'real' }).cuda;
    return available ? undefined : `no GPU: ${reason}`;
  } catch (error) {
    if (error instanceof NixlLoadError) return 'the NIXL library is not installed';
    throw error;
  }
}

describe('NIXL with a GPU', () => {
  beforeEach((context) => {
    const reason = missing();
    if (reason === undefined) return;
    if (process.env['REQUIRE_GPU'] === '1') throw new Error(`REQUIRE_GPU=1, but ${reason}`);
    context.skip(reason);
  });
  describeDevice('ucx');
});
