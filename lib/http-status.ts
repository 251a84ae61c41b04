import type { ErrorClass } from './errors.js';

/** The HTTP status of each class, as Dynamo's frontend answers. Source: `dynamo-llm` `http/service/error.rs`. */
export const HTTP_STATUSES: Readonly<Record<ErrorClass, number>> = {
  InvalidRequest: 400,
  Unauthenticated: 401,
  PermissionDenied: 403,
  NotFound: 404,
  Conflict: 409,
  PayloadTooLarge: 413,
  UnsupportedMedia: 415,
  RateLimited: 429,
  CapacityExhausted: 529,
  Cancelled: 499,
  Unavailable: 503,
  BackendProtocol: 502,
  DeadlineExceeded: 504,
  NotImplemented: 501,
  Internal: 500,
};
