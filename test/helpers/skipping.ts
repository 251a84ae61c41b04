import { describe, it } from 'vitest';

/** A group of tests; where there is a reason not to run it, one skip that tells the reason stands for them all. */
export function describeUnless(reason: string | undefined, name: string, body: () => void): void {
  if (reason === undefined) describe(name, body);
  else describe(name, () => it('all of it', ({ skip }) => skip(reason)));
}
