/** What a `DeployError` says besides its message. */
export interface DeployErrorOptions {
  /** The exit code of a command that fails with it. @default 1 */
  readonly exitCode?: number;
  /** What to do about it, in one sentence. */
  readonly hint?: string;
  /** The file or folder that it is about. */
  readonly path?: string;
  readonly cause?: unknown;
}

/**
 * A fault of a command that loads, builds, serves or deploys a graph. `code` is stable, such as `E_GRAPH_NOT_FOUND`;
 * `exitCode` follows `sysexits`: 65 bad input, 66 no such file, 69 unavailable, 73 cannot be created.
 */
export class DeployError extends Error {
  override readonly name = 'DeployError';
  readonly exitCode: number;
  readonly hint: string | undefined;
  readonly path: string | undefined;

  constructor(
    readonly code: string,
    message: string,
    { exitCode = 1, hint, path, cause }: DeployErrorOptions = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
    this.hint = hint;
    this.path = path;
  }
}

/** What `manifestOf` throws for wrong input, as `E_BAD_DEPLOYMENT` (65). Any other error is returned as it is. */
export function badDeployment(cause: unknown): unknown {
  if (!(cause instanceof TypeError || cause instanceof RangeError)) return cause;
  return new DeployError('E_BAD_DEPLOYMENT', cause.message, { exitCode: 65, cause });
}
