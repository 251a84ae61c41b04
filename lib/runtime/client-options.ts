import { checkInstanceId, checkObject, wrongType } from '../check.js';
import {
  custom,
  instanceId,
  integer,
  milliseconds,
  type OptionTable,
  oneOf,
  optionTable,
  signal,
  stringMap,
  text,
} from '../options.js';
import type { RequestContext } from './context.js';

/** How a client selects an instance; the names of Dynamo 1.6. For KV-aware routing use `KvRouter`. */
export type RouterMode =
  | 'round_robin'
  | 'random'
  | 'power_of_two_choices'
  | 'least_loaded'
  | 'device_aware_weighted'
  | 'direct';

/** How a client selects among the instances of its endpoint. */
export interface ClientOptions {
  /** @default 'round_robin' */
  readonly mode?: RouterMode;
}

/** @internal */
export const CLIENT_OPTIONS: OptionTable<ClientOptions> = optionTable<ClientOptions>({
  mode: oneOf('round_robin', 'random', 'power_of_two_choices', 'least_loaded', 'device_aware_weighted', 'direct').about(
    'How the client selects an instance.',
  ),
});

/** Options of one request. */
export interface RequestOptions {
  /** Sends to this instance, in every mode. Mode `direct` requires it. */
  readonly instanceId?: bigint;
  /** The instances that may get the request if `instanceId` is gone before it is sent. @default none */
  readonly fallback?: 'any' | readonly bigint[];
  /** The request's id. @default the id of the request being served, else a new one */
  readonly id?: string;
  /** Strings that travel with the request. They override those of the request being served. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Ends the request with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Ends the request with `DYN_DEADLINE_EXCEEDED` after this time. @default no limit */
  readonly timeoutMs?: number;
  /**
   * The maximum number of attempts, while the request fails retryably before its first item. No attempt goes to an
   * instance that has failed the request. If no other instance is left, the request fails with its last error.
   * @default 1
   */
  readonly attempts?: number;
  /** The request whose id, metadata and end this one shares; null for none. @default the one being served */
  readonly parent?: RequestContext | null;
}

/** @internal */
export const REQUEST_OPTIONS: OptionTable<RequestOptions> = optionTable<RequestOptions>({
  instanceId: instanceId.about('Sends to this instance, in every mode.'),
  fallback: custom<'any' | readonly bigint[]>("'any' or a list of instance ids", checkFallback).about(
    'The instances that may get the request if `instanceId` is gone.',
  ),
  id: text.about('The id of the request.'),
  metadata: stringMap.about('Strings that travel with the request.'),
  signal: signal.about('Ends the request.'),
  timeoutMs: milliseconds(1).about('Ends the request after this time.'),
  attempts: integer(1, 1000).about('The maximum number of attempts.'),
  parent: custom<RequestContext | null>('a request context or null', checkParent).about(
    'The request whose id, metadata and end this one shares.',
  ),
});

/** What `waitForInstances` waits for, and how long. */
export interface WaitOptions {
  /** @default 1 */
  readonly count?: number;
  /**
   * Counts only instances whose model card has these values in its `runtimeData`, which an engine's `start` returns.
   */
  readonly runtimeData?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
  /** @default no limit */
  readonly timeoutMs?: number;
}

/** @internal */
export const WAIT_OPTIONS: OptionTable<WaitOptions> = optionTable<WaitOptions>({
  count: integer(1).about('The number of instances.'),
  runtimeData: custom<Readonly<Record<string, unknown>>>('an object', checkObject).about(
    'Values that the model card of an instance must have.',
  ),
  signal: signal.about('Ends the wait.'),
  timeoutMs: milliseconds(1).about('Ends the wait after this time.'),
});

function checkFallback(path: string, value: unknown): void {
  if (value === 'any') return;
  if (!Array.isArray(value)) wrongType(path, "'any' or a list of instance ids", value);
  value.forEach((id, index) => checkInstanceId(`${path}[${index}]`, id));
}

function checkParent(path: string, value: unknown): void {
  if (typeof value !== 'object') wrongType(path, 'a request context or null', value);
}
