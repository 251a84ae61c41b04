import { DynamoError, type ErrorClass, failureFrom } from '../../errors.js';
import { HTTP_STATUSES } from '../../http-status.js';

/** The reason of an error that was thrown as no `DynamoError`, here or in a dependency. */
const UNCLASSIFIED = 'runtime.unclassified';

/** What a client of HTTP gets for an error. */
export interface HttpFailure {
  readonly status: number;
  readonly body: { readonly error: { readonly code: string; readonly reason?: string; readonly message: string } };
}

/**
 * The status and the body for what a handler has thrown. Only the message of a `DynamoError` and of a refused argument
 * leaves the process: any other may have details that are not for users. It becomes a warning of the process.
 */
export function httpFailureOf(path: string, thrown: unknown): HttpFailure {
  const { class: name, message, reason } = failureFrom(thrown);
  const error = new DynamoError(name as ErrorClass, message, reason === undefined ? {} : { reason });
  // An error of a dependency that was no `DynamoError` arrives as one of no class that it chose.
  const isInternal = error.class === 'Internal' && (!DynamoError.is(thrown) || reason === UNCLASSIFIED);
  if (isInternal) {
    const detail = thrown instanceof Error ? thrown.stack : undefined;
    process.emitWarning(`${path} failed: ${message}`, { code: 'DYN_HTTP_HANDLER', ...(detail && { detail }) });
  }
  return {
    status: HTTP_STATUSES[error.class],
    body: {
      error: {
        code: error.code,
        ...(error.reason === '' ? {} : { reason: error.reason }),
        message: isInternal ? 'the service failed' : message,
      },
    },
  };
}
