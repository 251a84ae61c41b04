import { constants } from 'node:os';
import { checkArray, checkFunction, checkOneOf } from '../check.js';

/**
 * Runs `close` once when the process is asked to end, and ends it behind that: with code 0, or with the signal's where `close`
 * fails. A second signal ends it at once. Opt-in: a library must not decide over its process. Gives what undoes it.
 */
export function closeOnSignal(
  close: () => Promise<unknown>,
  signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'],
): () => void {
  checkFunction('closeOnSignal close', close);
  checkArray('closeOnSignal signals', signals, 'names of signals');
  signals.forEach((signal, index) =>
    checkOneOf(`closeOnSignal signals[${index}]`, signal, Object.keys(constants.signals)),
  );
  let closing = false;
  const onSignal = (_: NodeJS.Signals, number: number): void => {
    if (closing) process.exit(128 + number);
    closing = true;
    (async () => close())().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(128 + number);
      },
    );
  };
  for (const signal of signals) process.on(signal, onSignal);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
}
