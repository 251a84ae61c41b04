import { onTestFinished } from 'vitest';

/** The warnings of the process with a code, from now until the end of the test. */
export function warnings(code: string): Error[] {
  const seen: Error[] = [];
  const note = (warning: Error): void => {
    if ((warning as { code?: string }).code === code) seen.push(warning);
  };
  process.on('warning', note);
  onTestFinished(() => void process.off('warning', note));
  return seen;
}
