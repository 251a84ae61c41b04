import type { CommandIo } from './command.js';

const COLUMNS = 80;

/** The streams, the environment and the signals of this process. */
export function processIo(): CommandIo {
  const { stdin, stdout, stderr, env } = process;
  // A reader that has left, such as `head`, ends the command without a message.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    throw error;
  });
  return {
    stdin,
    stdout,
    stderr,
    env,
    cwd: process.cwd(),
    isTerminal: stdout.isTTY === true,
    get columns() {
      return stdout.columns ?? COLUMNS;
    },
    onSignal(signal, handler) {
      process.on(signal, handler);
      return () => void process.off(signal, handler);
    },
  };
}
