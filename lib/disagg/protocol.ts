import { shown } from '../errors.js';
import type { PeerDescription } from '../kvbm/peer-blocks.js';
import type { Endpoint } from '../runtime/endpoint.js';
import { HandoffError, type HandoffReason, isHandoffReason } from './errors.js';
import { HANDOFF_VERSION, type HandoffParams } from './handoff.js';

/** A request from a decode worker to a prefill worker. */
export type OfferRequest =
  | { readonly op: 'describe' }
  /** Waits for the offer of a room: the rendezvous of a request whose prefill and decode start together. */
  | { readonly op: 'wait'; readonly room: string }
  /** The decode worker of a room will not come. */
  | { readonly op: 'abandon'; readonly room: string }
  | { readonly op: 'beat'; readonly offer: string }
  /** Ends an offer. `blocks` are those that were read, from index `first` on; absent if the offer is abandoned. */
  | { readonly op: 'release'; readonly offer: string; readonly first?: number; readonly blocks?: readonly number[] };

/**
 * The answer to `describe`.
 * @inline
 */
export interface OfferDescription extends PeerDescription {
  readonly version: number;
  readonly model: string;
  /** What moves the bytes: both workers need the same. */
  readonly library: 'real' | 'mock';
}

/**
 * The answer to `beat` and `release`: whether the offer existed until this request.
 * @inline
 */
export interface OfferState {
  readonly held: boolean;
}

/**
 * The answer to `wait` and `release` if the handoff has failed. An error that a handler throws would lose this reason.
 * @inline
 */
export interface OfferFailure {
  readonly failed: HandoffReason;
  readonly message: string;
}

/** A prefill worker's answer: its description, an offer, whether an offer exists, or why the handoff failed. */
export type OfferResponse = OfferDescription | HandoffParams | OfferState | OfferFailure;

/** The endpoint through which a prefill worker offers blocks. */
export type OfferEndpoint = Endpoint<OfferRequest, OfferResponse>;

const isBytes = (value: unknown): boolean => value instanceof Uint8Array;
const isText = (value: unknown): boolean => typeof value === 'string';

const RULES: Readonly<
  Record<keyof OfferDescription, readonly [expected: string, accepts: (value: unknown) => boolean]>
> = {
  version: ['a number', Number.isSafeInteger],
  model: ['a string', isText],
  library: ['real or mock', (value) => value === 'real' || value === 'mock'],
  layout: ['a string', isText],
  blockBytes: ['a number', Number.isSafeInteger],
  metadata: ['bytes', isBytes],
  memory: ['an object', (value) => typeof value === 'object' && value !== null],
};

/**
 * Reads a prefill worker's description.
 *
 * @throws HandoffError `disagg.version` or `disagg.handoff`
 */
export function readDescription(operation: string, answer: unknown): OfferDescription {
  const given = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  const { version } = given;
  if (version !== HANDOFF_VERSION)
    throw new HandoffError(
      'disagg.version',
      `the prefill worker's version: expected ${HANDOFF_VERSION}, got ${shown(version)}`,
      operation,
    );
  for (const [name, [expected, accepts]] of Object.entries(RULES))
    if (!accepts(given[name]))
      throw new HandoffError(
        'disagg.handoff',
        `the prefill worker's ${name}: expected ${expected}, got ${shown(given[name])}`,
        operation,
      );
  return given as unknown as OfferDescription;
}

/** @throws HandoffError if a prefill worker has answered that the handoff failed */
export function throwIfFailed(operation: string, answer: unknown): void {
  const { failed, message } = (answer ?? {}) as { failed?: unknown; message?: unknown };
  if (failed === undefined) return;
  const reason = isHandoffReason(failed) ? failed : 'disagg.handoff';
  throw new HandoffError(reason, `the prefill worker answered: ${String(message)}`, operation);
}
