import { DeployError } from '../deploy-error.js';

/** The object that an API server answers a failed request with. */
interface Status {
  readonly message?: unknown;
  readonly reason?: unknown;
  readonly details?: { readonly causes?: unknown };
}

/** An answer of an API server that is no success. */
export class KubernetesError extends DeployError {
  constructor(
    code: string,
    message: string,
    /** The HTTP status. */
    readonly status: number,
    /** The reason of the server, such as `AlreadyExists`, or empty. */
    readonly statusReason: string,
    /** The fields that the server complains about. */
    readonly fields: readonly string[],
    options: { readonly exitCode?: number; readonly hint?: string } = {},
  ) {
    super(code, message, options);
  }
}

interface Meaning {
  readonly code: string;
  readonly exitCode?: number;
  readonly hint?: string;
  /** Stands before the message of the server. */
  readonly prefix?: string;
}

const INVALID: Meaning = { code: 'E_KUBERNETES_INVALID', exitCode: 65, prefix: 'Validation error' };
const UNAVAILABLE: Meaning = { code: 'E_KUBERNETES_UNAVAILABLE', exitCode: 69 };

const MEANINGS: Readonly<Record<number, Meaning>> = {
  400: INVALID,
  401: {
    code: 'E_KUBERNETES_UNAUTHENTICATED',
    exitCode: 77,
    hint: 'The credentials of the kubeconfig are missing or have expired.',
  },
  403: { code: 'E_KUBERNETES_FORBIDDEN', exitCode: 77, hint: 'Ask an administrator of the cluster for this right.' },
  404: { code: 'E_KUBERNETES_NOT_FOUND', exitCode: 66 },
  409: { code: 'E_KUBERNETES_CONFLICT' },
  422: INVALID,
  429: UNAVAILABLE,
  500: { code: 'E_KUBERNETES_FAILED', prefix: 'Internal server error' },
  502: UNAVAILABLE,
  503: UNAVAILABLE,
  504: UNAVAILABLE,
};

const NO_RESOURCE: Meaning = {
  code: 'E_NO_PLATFORM',
  exitCode: 69,
  hint: 'Install the Dynamo Kubernetes platform in the cluster.',
};

/** A server-side apply with an unknown field or a wrong type is answered with 500. */
const WRONG_PATCH = 'failed to create typed patch object';

const MAX_TEXT_CHARACTERS = 200;

function statusIn(text: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Status) : undefined;
  } catch {
    return undefined;
  }
}

/** Each complaint of the server, as `field: message`. A note that rules were not checked is left out. */
function complaintsOf({ details }: Status): { readonly field: string; readonly text: string }[] {
  const causes: readonly unknown[] = Array.isArray(details?.causes) ? details.causes : [];
  return causes.flatMap((cause) => {
    const { field, message } = cause as { field?: unknown; message?: unknown };
    if (typeof field !== 'string' || field === '<nil>' || typeof message !== 'string') return [];
    return [{ field, text: `${field}: ${message}` }];
  });
}

/**
 * The error for an answer that is no success.
 *
 * Exit codes: 65 for what the server does not accept, 66 for what does not exist, 69 for a server that cannot answer or
 * does not know the kind, 77 for denied access, else 1.
 */
export function errorOfStatus(url: string, status: number, text: string): KubernetesError {
  const object = statusIn(text);
  const message = typeof object?.message === 'string' ? object.message : undefined;
  const shown = message ?? `${url} answered ${status}: ${text.trim().slice(0, MAX_TEXT_CHARACTERS)}`;
  const known = MEANINGS[status] ?? { code: 'E_KUBERNETES_FAILED' };
  const isWrongPatch = status === 500 && shown.includes(WRONG_PATCH);
  const meaning = isWrongPatch ? INVALID : status === 404 && object === undefined ? NO_RESOURCE : known;
  const complaints = complaintsOf(object ?? {});
  const lines = meaning === INVALID ? complaints.map((one) => `\n  ${one.text}`) : [];
  const said = lines.length > 0 ? lines.join('') : ` ${shown}`;
  const { code, prefix, ...options } = meaning;
  return new KubernetesError(
    code,
    prefix === undefined ? shown : `${prefix}:${said}`,
    status,
    typeof object?.reason === 'string' ? object.reason : '',
    complaints.map(({ field }) => field),
    options,
  );
}

/** The error for a server that no connection reaches: exit code 69. */
export function unreachableServer(server: string, cause: unknown): DeployError {
  const { code, message = String(cause) } = cause as { code?: unknown; message?: string };
  const reason = message === '' && typeof code === 'string' ? code : message;
  return new DeployError('E_KUBERNETES_UNREACHABLE', `${server} is not reachable: ${reason}`, { exitCode: 69, cause });
}
