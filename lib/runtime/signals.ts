/**
 * Runs `close` once when the process is asked to end, then lets it end with the signal's exit code; a second signal ends it
 * at once. Opt-in: a library must not decide over its process. Gives what undoes it.
 */
export function closeOnSignal(
  close: () => Promise<unknown>,
  signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'],
): () => void {
  let closing = false;
  const onSignal = (signal: NodeJS.Signals, number: number): void => {
    if (closing) process.exit(128 + number);
    closing = true;
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(128 + number);
      },
    );
    void signal;
  };
  for (const signal of signals) process.on(signal, onSignal);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
}
