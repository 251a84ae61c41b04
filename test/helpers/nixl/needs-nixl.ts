import { loadNixl, NixlLoadError } from 'dynamo-node';
import type { TestContext } from 'vitest';

/** Skips a test with the reason if NIXL cannot use a GPU. With `REQUIRE_GPU=1` it fails instead. */
export function needsNixlGpu(context: TestContext): void {
  let reason: string | undefined;
  try {
    const { available, reason: why } = loadNixl({ mode: 'real' }).cuda;
    if (!available) reason = `NIXL has no GPU: ${why}`;
  } catch (error) {
    if (!(error instanceof NixlLoadError)) throw error;
    reason = 'the NIXL library is not installed';
  }
  if (reason === undefined) return;
  if (process.env['REQUIRE_GPU'] === '1') throw new Error(`REQUIRE_GPU=1, but ${reason}`);
  context.skip(reason);
}
