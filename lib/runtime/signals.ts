import { constants } from 'node:os';
import { checkArray, checkFunction, checkOneOf } from '../check.js';

/**
 * Runs `close` once on the first signal, then ends the process: with code 0, or with the signal's code if `close`
 * fails. A second signal ends the process at once. It is opt-in, because a library must not decide when its process
 * ends.
 *
 * @returns a function that removes the signal handlers
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
