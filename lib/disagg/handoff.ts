import { createHash } from 'node:crypto';
import { MAX_U32 } from '../check.js';
import { shown } from '../errors.js';
import type { Tokens } from '../kvbm/sequence.js';
import { HandoffError } from './errors.js';

/** The version of the content. A worker accepts its own version only. */
export const HANDOFF_VERSION = 1;

const TYPE = 'dynamo-node/kv';
const KEY = 'kv_handoff';

/**
 * What a decode worker gets to know about the blocks of one request, from its prefill worker. It travels as
 * `disaggregated_params.kv_handoff`, so it has only values of JSON.
 */
export interface KvHandoff {
  readonly type: typeof TYPE;
  readonly version: typeof HANDOFF_VERSION;
  /** The endpoint of the prefill worker's {@link KvOffers}, `namespace.component.endpoint`. */
  readonly endpoint: string;
  /** The prefill worker's instance id, in decimal: JSON has no integers of 64 bits. */
  readonly instance: string;
  /** Identifies the offer. */
  readonly offer: string;
  readonly model: string;
  /** The layout of a block, as the block manager describes it. It includes the block size. */
  readonly layout: string;
  /** Tokens whose rows the blocks contain. */
  readonly tokens: number;
  /** A digest of these tokens: 32 hexadecimal digits. */
  readonly prompt: string;
  /** The ids of the blocks at the prefill worker, in the order of the tokens. */
  readonly blocks: readonly number[];
  /** How long the offer lives without a heartbeat. */
  readonly lease_ms: number;
}

/** The content of `disaggregated_params`. */
export interface HandoffParams {
  readonly [KEY]: KvHandoff;
}

const MAX_LEASE_MS = 3_600_000;
const MAX_BLOCKS = 2 ** 22;

type Rule = readonly [expected: string, accepts: (value: unknown) => boolean];

const matching =
  (pattern: RegExp) =>
  (value: unknown): boolean =>
    typeof value === 'string' && pattern.test(value);
const integer = (min: number, max: number): Rule => [
  `an integer from ${min} to ${max}`,
  (value) => Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max,
];
const someText: Rule = ['a string that is not empty', matching(/^.+$/s)];

const RULES: Readonly<Record<keyof Omit<KvHandoff, 'type' | 'version'>, Rule>> = {
  endpoint: ['namespace.component.endpoint', matching(/^[a-z0-9_-]+\.[a-z0-9_-]+\.[a-z0-9_-]+$/)],
  instance: [
    'an instance id in decimal',
    (value) => matching(/^\d{1,20}$/)(value) && BigInt(value as string) < 2n ** 64n,
  ],
  offer: ['a UUID', matching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)],
  model: someText,
  layout: someText,
  tokens: integer(1, MAX_U32),
  prompt: ['32 hexadecimal digits', matching(/^[0-9a-f]{32}$/)],
  blocks: [
    `an array of 1 to ${MAX_BLOCKS} different block ids`,
    (value) =>
      Array.isArray(value) &&
      value.length > 0 &&
      value.length <= MAX_BLOCKS &&
      value.every((id) => Number.isSafeInteger(id) && id >= 0 && id <= MAX_U32) &&
      new Set(value).size === value.length,
  ],
  lease_ms: integer(1, MAX_LEASE_MS),
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The digest of tokens, by which both workers know that they have the same prompt. */
export function promptDigest(tokens: Tokens): string {
  const words = tokens instanceof Uint32Array ? tokens : Uint32Array.from(tokens);
  const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}

/** The content as a prefill worker sends it. */
export function handoffParams(handoff: Omit<KvHandoff, 'type' | 'version'>): HandoffParams {
  return { [KEY]: { type: TYPE, version: HANDOFF_VERSION, ...handoff } };
}

/**
 * Reads the content that a prefill worker or a peer has sent. Checks every field; trusts none.
 *
 * @throws HandoffError `disagg.version` for another version, `disagg.handoff` for anything else that is not valid
 */
export function readHandoff(operation: string, params: unknown): KvHandoff {
  const path = `disaggregated_params.${KEY}`;
  const given = isObject(params) ? params[KEY] : undefined;
  if (!isObject(given)) {
    const names = isObject(params) ? Object.keys(params).slice(0, 5).join(', ') || 'no field' : shown(params);
    throw new HandoffError('disagg.handoff', `${path}: expected an object, got ${names}`, operation);
  }
  if (given['type'] !== TYPE)
    throw new HandoffError('disagg.handoff', `${path}.type: expected ${TYPE}, got ${shown(given['type'])}`, operation);
  if (given['version'] !== HANDOFF_VERSION)
    throw new HandoffError(
      'disagg.version',
      `${path}.version: expected ${HANDOFF_VERSION}, got ${shown(given['version'])}; ` +
        'run the same version of dynamo-node on both workers',
      operation,
    );
  for (const [name, [expected, accepts]] of Object.entries(RULES))
    if (!accepts(given[name]))
      throw new HandoffError(
        'disagg.handoff',
        `${path}.${name}: expected ${expected}, got ${shown(given[name])}`,
        operation,
      );
  const unknown = Object.keys(given).find((name) => !(name in RULES) && name !== 'type' && name !== 'version');
  if (unknown !== undefined) throw new HandoffError('disagg.handoff', `${path}.${unknown}: unknown field`, operation);
  return given as unknown as KvHandoff;
}

/** What a worker expects of a handoff. */
export interface ExpectedHandoff {
  readonly endpoint: string;
  readonly model: string;
  readonly layout: string;
  /** The digest of the worker's own tokens, and their number. */
  readonly prompt: string;
  readonly tokens: number;
  readonly blockSize: number;
}

/**
 * Checks that the offered blocks are those of this worker's request.
 *
 * @throws HandoffError
 */
export function checkHandoff(operation: string, handoff: KvHandoff, expected: ExpectedHandoff): void {
  const mismatch = (reason: HandoffError['reason'], what: string, wanted: unknown, got: unknown): HandoffError =>
    new HandoffError(reason, `handoff ${what}: expected ${wanted}, got ${got}`, operation);
  const { endpoint, model, layout, prompt, tokens, blockSize } = expected;
  if (handoff.endpoint !== endpoint) throw mismatch('disagg.handoff', 'endpoint', endpoint, handoff.endpoint);
  if (handoff.model !== model) throw mismatch('disagg.model', 'model', model, shown(handoff.model));
  if (handoff.layout !== layout) throw mismatch('disagg.layout', 'layout', layout, shown(handoff.layout));
  if (handoff.tokens !== tokens) throw mismatch('disagg.prompt', 'tokens', tokens, handoff.tokens);
  if (handoff.prompt !== prompt) throw mismatch('disagg.prompt', 'prompt', prompt, handoff.prompt);
  const count = Math.ceil(tokens / blockSize);
  if (handoff.blocks.length !== count) throw mismatch('disagg.blocks', 'blocks', count, handoff.blocks.length);
}
