import { wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { isPass } from './core/performance.js';
import type { PassSample } from './core/types.js';
import { readNpz } from './npz.js';

/** What a profiler measured of an engine. */
export interface EngineProfile {
  /** For the option `profile` of a pool. */
  readonly passes: readonly PassSample[];
  /** The tokens that fit into the KV cache. Absent in data of prefill alone. */
  readonly kvTokens?: number;
}

/** The arrays of each kind of file. Source: the profiler of Dynamo 1.6.1. */
const PREFILL = ['prefill_isl', 'prefill_ttft'] as const;
const DECODE = ['x_kv_usage', 'y_context_length', 'z_itl', 'max_kv_tokens'] as const;

type Arrays = Readonly<Record<string, Float64Array>>;

const has = (arrays: Arrays, names: readonly string[]): boolean => names.every((name) => arrays[name] !== undefined);

/** A prompt alone on the engine. */
function prefillPasses({ prefill_isl, prefill_ttft }: Arrays): PassSample[] {
  return [...(prefill_isl as Float64Array)].map((prefillTokens, index) => ({
    ...{ prefillTokens, decodeRequests: 0, kvTokens: 0 },
    wallMs: prefill_ttft?.[index] as number,
  }));
}

/** A batch of requests with one context length, which together use a part of the KV cache. */
function decodePasses({ x_kv_usage, y_context_length, z_itl }: Arrays, maxTokens: number): PassSample[] {
  return [...(x_kv_usage as Float64Array)].map((usage, index) => {
    const kvTokens = usage * maxTokens;
    const decodeRequests = Math.max(1, kvTokens / (y_context_length?.[index] as number));
    return { prefillTokens: 0, decodeRequests, kvTokens, wallMs: z_itl?.[index] as number };
  });
}

/**
 * Reads the data of Dynamo's Python profiler: `raw_data.npz` of prefill or of decode.
 *
 * @param path names the file in errors
 * @throws TypeError for another file, or if no measurement is usable
 */
export function parseProfile(path: string, file: Uint8Array): EngineProfile {
  if (!(file instanceof Uint8Array)) wrongType(path, 'the bytes of a file', file);
  const arrays = readNpz(path, Buffer.from(file.buffer, file.byteOffset, file.byteLength));
  const kvTokens = arrays['max_kv_tokens']?.[0];
  const passes = has(arrays, PREFILL)
    ? prefillPasses(arrays)
    : has(arrays, DECODE)
      ? decodePasses(arrays, kvTokens as number)
      : undefined;
  if (passes === undefined) {
    const expected = [PREFILL, DECODE].map((names) => names.join(', ')).join(', or ');
    throw badArgument(new TypeError(`${path}: expected ${expected}, got ${Object.keys(arrays).join(', ')}`));
  }
  const usable = passes.filter(isPass);
  if (usable.length === 0) throw badArgument(new TypeError(`${path}: expected measured times, got none`));
  return { passes: usable, ...(kvTokens === undefined ? {} : { kvTokens: Math.floor(kvTokens) }) };
}
