import type { TestContext } from 'vitest';
import { missingGpu as missing, requireGpu } from '../../../lib/testing/test-context.js';

export { gpus } from '../../../lib/testing/test-context.js';

/** Why tests on a GPU are not possible here. Undefined if they are. */
export const missingGpu = missing();

/** Skips a test with the reason if there is no GPU. With `REQUIRE_GPU=1` it fails instead. */
export function needsGpu(context: TestContext): void {
  requireGpu(context);
}
