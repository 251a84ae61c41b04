import { softmax } from './math.js';

/** How the next token is sampled. */
export interface SamplingOptions {
  /** Divides the logits. 0 selects the most likely token. Default 0, as in the checkpoint's generation_config.json. */
  readonly temperature?: number;
  /** Sample from this many most likely tokens. 0 or -1 means all. Default 0. */
  readonly topK?: number;
  /** Sample from the fewest most likely tokens whose probabilities reach this sum, above 0 to 1. Default 1. */
  readonly topP?: number;
  /** Exclude tokens that are less likely than this share of the most likely one, 0 to 1. Default 0. */
  readonly minP?: number;
  /** The same seed samples the same tokens. Default: random. */
  readonly seed?: number | bigint;
  /** A value above 1 makes the tokens of the prompt and of the answer less likely. Default 1. */
  readonly repetitionPenalty?: number;
  /** Subtracted from the logit of a token once for each occurrence in the answer. Default 0. */
  readonly frequencyPenalty?: number;
  /** Subtracted from the logit of each token that occurs in the answer. Default 0. */
  readonly presencePenalty?: number;
  /** The number of most likely tokens to report in addition to the chosen one. Default 0. */
  readonly topLogprobs?: number;
}

/** A token and the natural logarithm of its probability, before penalties and temperature. */
export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
}

/** The chosen token. */
export interface Choice extends TokenLogprob {
  /** The most likely tokens, best first. Present if `topLogprobs` is above 0. */
  readonly topLogprobs?: readonly TokenLogprob[];
}

/** Samples the tokens of one answer and counts them for the penalties. */
export class Sampler {
  readonly #options: Required<Omit<SamplingOptions, 'seed'>>;
  readonly #random: () => number;
  readonly #prompt: ReadonlySet<number>;
  readonly #answerCounts = new Map<number, number>();

  /**
   * @param promptTokenIds the prompt, for the repetition penalty
   * @throws TypeError if an option is not a number
   * @throws RangeError if an option is outside its range
   */
  constructor(options: SamplingOptions = {}, promptTokenIds: Iterable<number> = []) {
    this.#options = {
      temperature: within('temperature', options.temperature ?? 0, 0, Infinity),
      topK: integer('topK', options.topK ?? 0, -1),
      topP: within('topP', options.topP ?? 1, Number.MIN_VALUE, 1),
      minP: within('minP', options.minP ?? 0, 0, 1),
      repetitionPenalty: within('repetitionPenalty', options.repetitionPenalty ?? 1, Number.MIN_VALUE, Infinity),
      frequencyPenalty: within('frequencyPenalty', options.frequencyPenalty ?? 0, -Infinity, Infinity),
      presencePenalty: within('presencePenalty', options.presencePenalty ?? 0, -Infinity, Infinity),
      topLogprobs: integer('topLogprobs', options.topLogprobs ?? 0, 0),
    };
    this.#random = options.seed === undefined ? Math.random : seededRandom(options.seed);
    this.#prompt = new Set(promptTokenIds);
  }

  /**
   * Chooses the next token from logits.
   *
   * @param banned tokens that must not be chosen
   */
  choose(logits: Float32Array, banned: Iterable<number> = []): Choice {
    const { temperature, topLogprobs } = this.#options;
    const adjusted = this.#penalise(logits);
    for (const id of banned) adjusted[id] = -Infinity;

    const tokenId = temperature === 0 ? indexOfMax(adjusted) : this.#draw(adjusted);
    this.#answerCounts.set(tokenId, (this.#answerCounts.get(tokenId) ?? 0) + 1);

    const normaliser = logSumExp(logits);
    const withLogprob = (id: number): TokenLogprob => ({ tokenId: id, logprob: logits[id]! - normaliser });
    if (topLogprobs === 0) return withLogprob(tokenId);
    return { ...withLogprob(tokenId), topLogprobs: descending(logits).slice(0, topLogprobs).map(withLogprob) };
  }

  #penalise(logits: Float32Array): Float64Array {
    const { repetitionPenalty, frequencyPenalty, presencePenalty } = this.#options;
    const adjusted = new Float64Array(logits);
    if (repetitionPenalty !== 1) {
      for (const id of new Set([...this.#prompt, ...this.#answerCounts.keys()])) {
        const logit = adjusted[id]!;
        adjusted[id] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
      }
    }
    for (const [id, count] of this.#answerCounts) {
      adjusted[id]! -= frequencyPenalty * count + presencePenalty;
    }
    return adjusted;
  }

  #draw(logits: Float64Array): number {
    const { temperature, topK, topP, minP } = this.#options;
    let ids = descending(logits);
    if (topK > 0) ids = ids.slice(0, topK);
    const best = logits[ids[0]!]!;
    const probabilities = Float64Array.from(ids, (id) => (logits[id]! - best) / temperature);
    softmax(probabilities);

    const floor = minP * probabilities[0]!;
    let count = 0;
    let total = 0;
    while (count < ids.length && total < topP && probabilities[count]! >= floor && probabilities[count]! > 0) {
      total += probabilities[count++]!;
    }
    let rest = this.#random() * total;
    for (let i = 0; i < count; i++) {
      rest -= probabilities[i]!;
      if (rest < 0) return ids[i]!;
    }
    return ids[Math.max(count - 1, 0)]!;
  }
}

/** SplitMix64. Each call returns a number from 0 to below 1. */
function seededRandom(seed: number | bigint): () => number {
  if (typeof seed !== 'bigint' && !Number.isSafeInteger(seed)) {
    throw new TypeError(`sampling options.seed: expected an integer, got ${String(seed)}`);
  }
  let state = BigInt.asUintN(64, BigInt(seed));
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    z ^= z >> 31n;
    return Number(z >> 11n) * 2 ** -53;
  };
}

function indexOfMax(logits: Float64Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
  return best;
}

function descending(logits: Float32Array | Float64Array): number[] {
  return Array.from(logits, (_, id) => id).sort((a, b) => logits[b]! - logits[a]!);
}

function logSumExp(logits: Float32Array): number {
  let max = -Infinity;
  for (const logit of logits) if (logit > max) max = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  return max + Math.log(sum);
}

function within(name: string, value: number, low: number, high: number): number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw new TypeError(`sampling options.${name}: expected a number, got ${String(value)}`);
  }
  if (value < low || value > high || !Number.isFinite(value)) {
    const wanted =
      low === -Infinity
        ? 'a finite number'
        : low === 0
          ? `a number from 0${high === Infinity ? '' : ` to ${high}`}`
          : `a number above 0${high === Infinity ? '' : ` to ${high}`}`;
    throw new RangeError(`sampling options.${name}: expected ${wanted}, got ${value}`);
  }
  return value;
}

function integer(name: string, value: number, low: number): number {
  if (!Number.isSafeInteger(value)) {
    throw new TypeError(`sampling options.${name}: expected an integer, got ${String(value)}`);
  }
  if (value < low) throw new RangeError(`sampling options.${name}: expected ${low} or more, got ${value}`);
  return value;
}
