import { checkInteger, checkNumber, checkObject, wrongType } from '../../../check.js';
import { badArgument } from '../../../errors.js';
import type { TraceRequest } from './trace.js';

/** Tokens for which one hash id of a trace stands. */
const BLOCK_TOKENS = 512;
const MAX_INPUT_TOKENS = 1e8;
/** No model has longer answers, and each token is a pass of the simulation. */
const MAX_OUTPUT_TOKENS = 1e6;

/** How a trace is read. */
export interface MooncakeOptions {
  /** Whether the blocks of earlier requests are in a cache. @default false */
  readonly hasPrefixCache?: boolean;
  /** Factor by which requests arrive faster than in the trace. @default 1 */
  readonly speedup?: number;
}

/**
 * Reads a trace in the format of Mooncake: a request per line, as JSON with `timestamp` in ms, `input_length`,
 * `output_length` and `hash_ids`, one for 512 tokens of the prompt. Returns the requests in the order of their arrival,
 * the first one at 0.
 *
 * @param path names the trace in errors
 * @throws TypeError, RangeError that names the line and the field
 */
export function parseMooncake(path: string, text: string, options: MooncakeOptions = {}): TraceRequest[] {
  const { hasPrefixCache = false, speedup = 1 } = options;
  const seen = new Set<number>();
  const lines = text.split('\n').map((line, index) => [line, `${path}:${index + 1}`] as const);
  const requests = lines
    .filter(([line]) => line.trim() !== '')
    .map(([line, at]) => rowOf(at, line))
    .sort((a, b) => a.timestamp - b.timestamp);
  const first = requests[0]?.timestamp ?? 0;
  if (requests.length === 0) throw badArgument(new TypeError(`${path}: expected at least one request, got none`));
  return requests.map(({ timestamp, input_length: inputTokens, output_length, hash_ids: ids = [] }) => {
    const known = ids.findIndex((id) => !seen.has(id));
    for (const id of ids) seen.add(id);
    const cachedTokens = Math.min(inputTokens, (known === -1 ? ids.length : known) * BLOCK_TOKENS);
    return {
      atMs: (timestamp - first) / speedup,
      inputTokens,
      outputTokens: Math.max(1, output_length),
      ...(hasPrefixCache && cachedTokens > 0 ? { cachedTokens } : {}),
    };
  });
}

interface Row {
  readonly timestamp: number;
  readonly input_length: number;
  readonly output_length: number;
  readonly hash_ids?: readonly number[];
}

function rowOf(at: string, line: string): Row {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return wrongType(at, 'a JSON object', line.slice(0, 80));
  }
  checkObject(at, row);
  const { timestamp, input_length, output_length, hash_ids } = row;
  checkNumber(`${at} timestamp`, timestamp);
  checkInteger(`${at} input_length`, input_length, 1, MAX_INPUT_TOKENS);
  checkInteger(`${at} output_length`, output_length, 0, MAX_OUTPUT_TOKENS);
  if (hash_ids !== undefined && !Array.isArray(hash_ids)) wrongType(`${at} hash_ids`, 'an array', hash_ids);
  return row as unknown as Row;
}

/** Writes a trace in the format of Mooncake. No two prompts have a block in common. */
export function formatMooncake(trace: readonly TraceRequest[]): string {
  let next = 0;
  const lines = trace.map(({ atMs, inputTokens, outputTokens }) => {
    const blocks = Math.ceil(inputTokens / BLOCK_TOKENS);
    const hash_ids = Array.from({ length: blocks }, () => next++);
    return JSON.stringify({
      timestamp: Math.round(atMs),
      input_length: inputTokens,
      output_length: outputTokens,
      hash_ids,
    });
  });
  return `${lines.join('\n')}\n`;
}
