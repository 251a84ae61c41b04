import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { wrongType } from '../check.js';

/**
 * The context that a test function gets: the first parameter in vitest and in node:test. `skip` exists in both; the
 * functions for the end of the test are `onTestFinished` in vitest and `after` in node:test.
 */
export interface TestContext {
  /** Marks the test as skipped. */
  skip(reason?: string): unknown;
  /** Of vitest: calls a function at the end of the test. */
  onTestFinished?(close: () => unknown): void;
  /** Of node:test: the same. */
  after?(close: () => unknown): void;
}

/**
 * Checks that a value is the context of a test.
 *
 * @throws TypeError
 */
export function checkTestContext(path: string, value: unknown): asserts value is TestContext {
  const { onTestFinished, after } = (value ?? {}) as Partial<TestContext>;
  if (typeof onTestFinished !== 'function' && typeof after !== 'function')
    wrongType(path, 'the context of a test of vitest or node:test', value);
}

/** Closes something at the end of a test, whether it passes, fails or times out. */
export function closeAfterTest(context: TestContext, part: { close(): unknown }): void {
  if (context.onTestFinished !== undefined) context.onTestFinished(() => part.close());
  else context.after?.(() => part.close());
}

const DEVICES = '/proc/driver/nvidia/gpus';

/** The PCI addresses of the NVIDIA GPUs that the kernel's driver knows. */
export function gpus(): string[] {
  return existsSync(DEVICES) ? readdirSync(DEVICES) : [];
}

function hasDriverLibrary(): boolean {
  const { stdout } = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  return (
    /libcuda\.so\.1\b/.test(stdout ?? '') ||
    (process.env['LD_LIBRARY_PATH'] ?? '').split(':').some((folder) => existsSync(`${folder}/libcuda.so.1`))
  );
}

/** Why tests on a GPU are not possible on this machine. Undefined if they are. */
export function missingGpu(): string | undefined {
  if (gpus().length === 0) return 'this machine has no NVIDIA GPU';
  return hasDriverLibrary() ? undefined : "the driver's library libcuda.so.1 is not installed";
}

/**
 * Skips a test with the reason if this machine has no GPU. With `REQUIRE_GPU=1` it fails instead, so that a GPU runner
 * cannot pass without one.
 *
 * The function `skip` of node:test does not end the test, so the caller returns.
 *
 * @returns whether there is a GPU
 * @throws Error under `REQUIRE_GPU=1` without a GPU, TypeError for what is no context
 *
 * @example
 * import test from 'node:test';
 * import { requireGpu } from 'dynamo-node/testing';
 *
 * test('generates on a GPU', async (t) => {
 *   if (!requireGpu(t)) return;
 * });
 */
export function requireGpu(context: TestContext): boolean {
  if (typeof (context as Partial<TestContext> | undefined)?.skip !== 'function')
    wrongType('requireGpu context', 'the context of a test of vitest or node:test', context);
  const missing = missingGpu();
  if (missing === undefined) return true;
  if (process.env['REQUIRE_GPU'] === '1') throw new Error(`REQUIRE_GPU=1, but ${missing}`);
  context.skip(missing);
  return false;
}
