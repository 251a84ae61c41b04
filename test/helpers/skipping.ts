import { describe, it } from 'vitest';

/** A group of tests. If there is a reason not to run it, one skip with the reason represents all of them. */
export function describeUnless(reason: string | undefined, name: string, body: () => void): void {
  if (reason === undefined) describe(name, body);
  else describe(name, () => it('all of it', ({ skip }) => skip(reason)));
}
