import { afterEach } from 'vitest';

/** Creates a function that registers a close. After each test all of them run, the last one first. */
export function closeAfterEach(): (close: () => Promise<unknown> | void) => void {
  const closes: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });
  return (close) => void closes.push(close);
}
