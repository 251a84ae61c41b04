import { describe } from 'vitest';

const TIMES = Number(process.env['TIMES'] ?? 10);

/**
 * Runs the tests of another file TIMES times. Each file is separate, because settings are fixed for the life of a
 * process.
 */
export function repeated(name: string, file: () => Promise<unknown>): void {
  describe(`${name}, ${TIMES} times`, { repeats: TIMES - 1 }, async () => {
    await file();
  });
}
