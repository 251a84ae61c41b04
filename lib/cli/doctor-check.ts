import { execFile } from 'node:child_process';
import { connect } from 'node:net';

/**
 * `ok`: there. `absent`: optional, and not there. `warning`: there, but something will not work. `error`: the package
 * cannot work.
 */
export type CheckStatus = 'ok' | 'absent' | 'warning' | 'error';

/** One subject of `dynamo doctor`. */
export interface DoctorCheck {
  readonly name: string;
  readonly status: CheckStatus;
  /** What was found, in words. */
  readonly found: string;
  /** What to do. */
  readonly fix?: string;
}

/** `ok`, or another status with what to do. */
export function okOr(
  isOk: boolean,
  status: Exclude<CheckStatus, 'ok'>,
  fix: string,
): Pick<DoctorCheck, 'status' | 'fix'> {
  return isOk ? { status: 'ok' } : { status, fix };
}

/** The environment of the checks, and how long servers may take. */
export interface CheckContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly timeoutMs: number;
}

const PROGRAM_TIMEOUT_MS = 20_000;

/** The output of a program, or undefined if it is not there or fails. */
export function outputOf(
  program: string,
  args: readonly string[],
  { env, cwd }: Pick<CheckContext, 'env' | 'cwd'>,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(program, args, { env: { ...env }, cwd, timeout: PROGRAM_TIMEOUT_MS }, (error, stdout, stderr) =>
      resolve(error === null ? stdout.trim() || stderr.trim() : undefined),
    );
  });
}

/** Why no connection to a port is made, or undefined if one is. */
export function unreachable(host: string, port: number, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (reason: string | undefined): void => {
      socket.destroy();
      resolve(reason);
    };
    socket.setTimeout(timeoutMs, () => end(`no answer within ${timeoutMs} ms`));
    socket.on('connect', () => end(undefined));
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}
