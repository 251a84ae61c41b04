import { DynamoError } from '../errors.js';

/** The name of the parameters of a KV transfer in requests and answers of vLLM. */
export const TRANSFER_PARAMS = 'kv_transfer_params';

/** Where a request can carry them: in bodies of vLLM's and Dynamo's servers, and in requests to workers. */
const PLACES: readonly (readonly string[])[] = [
  [TRANSFER_PARAMS],
  ['vllm_xargs', TRANSFER_PARAMS],
  ['nvext', TRANSFER_PARAMS],
  ['sampling_params', 'extra_args', TRANSFER_PARAMS],
  ['extra_args', TRANSFER_PARAMS],
  ['extra_args', 'nvext', TRANSFER_PARAMS],
  ['extra_args', 'sampling_options', TRANSFER_PARAMS],
  ['extra_args', 'vllm_tito', TRANSFER_PARAMS],
  ['extra_args', 'vllm_tito', 'sampling_params', 'extra_args', TRANSFER_PARAMS],
];

/**
 * Removes parameters of a KV transfer from a request that came from outside, in place: clients must not choose which
 * memory a worker reads. Returns where they were, such as `vllm_xargs.kv_transfer_params`.
 */
export function stripTransferParams(body: unknown): string[] {
  return PLACES.filter((place) => removeAt(body, place)).map((place) => place.join('.'));
}

/** Refuses a request that carries them. @throws DynamoError `DYN_INVALID_REQUEST` */
export function refuseTransferParams(body: unknown): void {
  const [place] = stripTransferParams(body);
  if (place !== undefined)
    throw new DynamoError('InvalidRequest', `${place}: this worker does not accept it from a client`, {
      reason: 'request.invalid',
    });
}

function removeAt(body: unknown, place: readonly string[]): boolean {
  let holder: unknown = body;
  for (const name of place.slice(0, -1)) holder = isRecord(holder) ? holder[name] : undefined;
  const last = place.at(-1) as string;
  if (!isRecord(holder) || !Object.hasOwn(holder, last)) return false;
  const hadValue = holder[last] !== null && holder[last] !== undefined;
  delete holder[last];
  return hadValue;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
