/** An error as it crosses to and from the native side; see `native/core/src/failure.rs`. */
export interface Failure {
  class: string;
  kind?: string;
  reason?: string;
  message: string;
  details?: unknown;
  cause?: Failure;
  instanceId?: number | bigint;
  /** Only in failures of NIXL; see `native/nixl/call.cc`. */
  nixl?: NixlFailure;
}

/** The status and the failed call of NIXL's library, and a hint. */
export interface NixlFailure {
  status: number;
  call: string;
  hint: string;
}

/**
 * Dynamo's canonical error classes. Each has a code, and says whether the same request may succeed on another worker or
 * later. Source: `dynamo-runtime` `error.rs`.
 */
const CLASSES = {
  InvalidRequest: { code: 'DYN_INVALID_REQUEST', retryable: false },
  Unauthenticated: { code: 'DYN_UNAUTHENTICATED', retryable: false },
  PermissionDenied: { code: 'DYN_PERMISSION_DENIED', retryable: false },
  NotFound: { code: 'DYN_NOT_FOUND', retryable: false },
  Conflict: { code: 'DYN_CONFLICT', retryable: false },
  PayloadTooLarge: { code: 'DYN_PAYLOAD_TOO_LARGE', retryable: false },
  UnsupportedMedia: { code: 'DYN_UNSUPPORTED_MEDIA', retryable: false },
  RateLimited: { code: 'DYN_RATE_LIMITED', retryable: true },
  CapacityExhausted: { code: 'DYN_CAPACITY_EXHAUSTED', retryable: true },
  Cancelled: { code: 'DYN_CANCELLED', retryable: false },
  Unavailable: { code: 'DYN_UNAVAILABLE', retryable: true },
  BackendProtocol: { code: 'DYN_BACKEND_PROTOCOL', retryable: false },
  DeadlineExceeded: { code: 'DYN_DEADLINE_EXCEEDED', retryable: true },
  NotImplemented: { code: 'DYN_NOT_IMPLEMENTED', retryable: false },
  Internal: { code: 'DYN_INTERNAL', retryable: false },
} as const;

/**
 * Dynamo's canonical error classes. Source: `dynamo-runtime` `error.rs`.
 * @useDeclaredType
 */
export type ErrorClass = keyof typeof CLASSES;
/**
 * `DynamoError.code`: one for each class, and `DYN_CLOSED` for an object that was used after its close.
 * @useDeclaredType
 */
export type ErrorCode = (typeof CLASSES)[ErrorClass]['code'] | 'DYN_CLOSED';

/** A value in words. Never throws, even if reading the value throws. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || typeof value !== 'object') return typeof value === 'function' ? 'a function' : String(value);
  try {
    if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array';
    const name: unknown = value.constructor?.name;
    return name === 'Object' || typeof name !== 'string' ? 'an object' : `an object of ${name}`;
  } catch {
    return 'an object';
  }
}

/** The fields of a `DynamoError` besides its class and message. */
export interface DynamoErrorOptions {
  /** Upstream's reason key, verbatim, such as `transport.disconnected`. */
  reason?: string;
  /** Upstream's finer type, if it has one, such as `Disconnected`. */
  kind?: string;
  /** The call that failed, such as `client.generate`. */
  operation?: string;
  /**
   * Data that may be shown to a client. Between processes only Dynamo's own shapes are transmitted:
   * `{type: 'message', message}`, `{type: 'size_limit' | 'context_length', limit, actual}` and
   * `{type: 'rate_limit', limit, remaining}`.
   */
  details?: unknown;
  cause?: unknown;
  /** The instance that the failed request was sent to. */
  instanceId?: bigint;
}

const isClass = (name: unknown): name is ErrorClass => typeof name === 'string' && Object.hasOwn(CLASSES, name);

const brand = Symbol.for('dynamo-node.error');

/**
 * An error of Dynamo. When a handler throws it, the caller gets its class, reason and details. The caller gets the same
 * kind of object before the request is sent, before the first item and between two items.
 *
 * @example
 * try {
 *   await client.unary({ text: 'hello' });
 * } catch (error) {
 *   if (DynamoError.is(error) && error.retryable) console.log(`try again: ${error.reason}`);
 *   else throw error;
 * }
 */
export class DynamoError extends Error {
  override readonly name: string = 'DynamoError';
  readonly class: ErrorClass;
  readonly code: ErrorCode;
  readonly reason: string;
  readonly kind: string;
  readonly operation: string | undefined;
  readonly details: unknown;
  /** Whether the same request may succeed on another worker or later. */
  readonly retryable: boolean;
  /** The instance that the failed request was sent to. Undefined if it was not sent, and for bidirectional requests. */
  readonly instanceId: bigint | undefined;

  constructor(errorClass: ErrorClass, message: string, options: DynamoErrorOptions = {}) {
    if (!isClass(errorClass))
      throw new TypeError(
        `DynamoError class: expected one of ${Object.keys(CLASSES).join(', ')}, got ${shown(errorClass)}`,
      );
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    Object.defineProperty(this, brand, { value: true });
    const { code, retryable } = CLASSES[errorClass];
    this.class = errorClass;
    this.code = code;
    this.retryable = retryable;
    this.reason = options.reason ?? '';
    this.kind = options.kind ?? '';
    this.operation = options.operation;
    this.details = options.details;
    this.instanceId = options.instanceId;
  }

  /** Whether it is a `DynamoError`, of this or another copy of this package in the process. */
  static is(error: unknown): error is DynamoError {
    return error instanceof Error && brand in error;
  }
}

/** An object was used after it was closed. */
export class ClosedError extends DynamoError {
  override readonly name: string = 'ClosedError';
  override readonly code: ErrorCode = 'DYN_CLOSED';

  constructor(what: string, operation?: string) {
    super('Conflict', `${what} is closed`, {
      reason: 'request.conflict',
      ...(operation === undefined ? {} : { operation }),
    });
  }
}

/**
 * An error of NIXL, or of this package's NIXL area. `reason` is stable, such as `nixl.peer_lost`,
 * `nixl.peer_restarted`, `nixl.region_released`, `nixl.range`, `nixl.metadata`, `nixl.no_backend`, `nixl.no_gpu` or
 * `nixl.not_supported`.
 */
export class NixlError extends DynamoError {
  override readonly name: string = 'NixlError';
  /**
   * The status that the library returned, or 0 if it was not called. The numbers differ between its versions. Use
   * `reason` for decisions.
   */
  readonly status: number;
  /** The failed function of the library, without its prefix `nixl_capi_`, or empty. */
  readonly call: string;
  /** A hint, or empty. The message contains it too. */
  readonly hint: string;

  constructor(errorClass: ErrorClass, message: string, options: DynamoErrorOptions & Partial<NixlFailure> = {}) {
    const { status = 0, call = '', hint = '', ...rest } = options;
    super(errorClass, hint === '' ? message : `${message} (${hint})`, rest);
    this.status = status;
    this.call = call;
    this.hint = hint;
  }
}

/** Errors of this package's own checks of arguments. */
const argumentErrors = new WeakSet<Error>();

/** Marks an error of a check: in a handler it means that the request is invalid, not that the program has a bug. */
export function badArgument<E extends Error>(error: E): E {
  argumentErrors.add(error);
  return error;
}

/** The error object for a failure of the native side. */
export function errorFrom(failure: Failure, operation: string): Error {
  if (failure.class === 'BadArgument') return badArgument(new TypeError(`${operation} ${failure.message}`));
  if (failure.class === 'Closed') return new ClosedError(failure.message.replace(/ is closed$/, ''), operation);
  const errorClass = isClass(failure.class) ? failure.class : 'Internal';
  if (failure.nixl !== undefined)
    return new NixlError(errorClass, `${operation}: ${failure.message}`, {
      reason: failure.reason ?? '',
      operation,
      ...failure.nixl,
    });
  return new DynamoError(errorClass, failure.message || failure.reason || failure.class, {
    reason: failure.reason ?? '',
    kind: failure.kind ?? '',
    operation,
    details: failure.details,
    cause: failure.cause === undefined ? undefined : errorFrom(failure.cause, operation),
    ...(failure.instanceId === undefined ? {} : { instanceId: BigInt(failure.instanceId) }),
  });
}

/** Error codes of Node.js, with the class and reason that a caller gets if a handler throws them. */
const NODE_CODES: Record<string, [ErrorClass, string]> = {
  ABORT_ERR: ['Cancelled', 'backend.cancelled'],
  ECONNREFUSED: ['Unavailable', 'backend.cannot_connect'],
  ECONNRESET: ['Unavailable', 'backend.disconnected'],
  EPIPE: ['Unavailable', 'backend.disconnected'],
  ETIMEDOUT: ['DeadlineExceeded', 'backend.connection_timeout'],
};

/** HTTP statuses in the `status`, `statusCode` or `code` of web libraries' errors. */
const HTTP_STATUSES: Record<number, ErrorClass> = {
  400: 'InvalidRequest',
  401: 'Unauthenticated',
  403: 'PermissionDenied',
  404: 'NotFound',
  408: 'DeadlineExceeded',
  409: 'Conflict',
  413: 'PayloadTooLarge',
  415: 'UnsupportedMedia',
  422: 'InvalidRequest',
  429: 'RateLimited',
  499: 'Cancelled',
  501: 'NotImplemented',
  503: 'Unavailable',
  504: 'DeadlineExceeded',
};

/** The maximum number of causes that travel with an error, because causes may form a cycle. */
const MAX_CAUSES = 16;

/** The failure that the caller of a handler gets for a thrown value. Never throws, even if reading the value throws. */
export function failureFrom(thrown: unknown): Failure {
  try {
    return classified(thrown, MAX_CAUSES);
  } catch {
    return { class: 'Internal', reason: 'runtime.unclassified', message: 'the thrown value cannot be read' };
  }
}

function classified(thrown: unknown, causes: number): Failure {
  if (DynamoError.is(thrown)) {
    const { class: errorClass, reason, details, message, cause } = thrown;
    return {
      class: errorClass,
      reason: String(reason),
      message: String(message),
      ...(details === undefined ? {} : { details: plain(details) }),
      ...(cause === undefined || causes === 0 ? {} : { cause: classified(cause, causes - 1) }),
    };
  }
  if (!(thrown instanceof Error)) {
    const message = typeof thrown === 'string' ? thrown : `${shown(thrown)} was thrown, which is not an Error`;
    return { class: 'Internal', reason: 'runtime.unclassified', message };
  }
  const message = String(thrown.message);
  const { code, status, statusCode } = thrown as { code?: unknown; status?: unknown; statusCode?: unknown };
  if (thrown.name === 'AbortError') return { class: 'Cancelled', reason: 'backend.cancelled', message };
  if (thrown.name === 'TimeoutError') return { class: 'DeadlineExceeded', reason: 'backend.response_timeout', message };
  if (typeof code === 'string' && Object.hasOwn(NODE_CODES, code)) {
    const [errorClass, reason] = NODE_CODES[code] as [ErrorClass, string];
    return { class: errorClass, reason, message };
  }
  const http = [status, statusCode, code].find((value) => typeof value === 'number') as number | undefined;
  if (http !== undefined && HTTP_STATUSES[http] !== undefined) return { class: HTTP_STATUSES[http], message };
  if (argumentErrors.has(thrown)) return { class: 'InvalidRequest', reason: 'backend.invalid_argument', message };
  // Any other TypeError or RangeError is a bug of the handler.
  return { class: 'Internal', reason: 'runtime.unclassified', message };
}

/** Details as JSON, or in words if JSON cannot represent them: an error while packing could no longer be reported. */
function plain(details: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(details)) as unknown;
  } catch {
    return shown(details);
  }
}
