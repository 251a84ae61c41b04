import { softmax } from './math.js';

/** How the next token is drawn. */
export interface SamplingOptions {
  /** Divides the logits; 0 takes the most likely token. Default 0, as the checkpoint's generation_config.json asks. */
  readonly temperature?: number;
  /** Draw among this many most likely tokens; 0 or -1 is all. Default 0. */
  readonly topK?: number;
  /** Draw among the fewest most likely tokens whose probabilities reach this sum, above 0 to 1. Default 1. */
  readonly topP?: number;
  /** Leave out tokens less likely than this share of the most likely one, 0 to 1. Default 0. */
  readonly minP?: number;
  /** The same seed draws the same tokens. Default: another draw each time. */
  readonly seed?: number | bigint;
  /** Above 1 makes tokens of the prompt and the answer so far less likely. Default 1. */
  readonly repetitionPenalty?: number;
  /** Taken from a token's logit once for each time the answer has it. Default 0. */
  readonly frequencyPenalty?: number;
  /** Taken from the logit of each token that the answer has. Default 0. */
  readonly presencePenalty?: number;
  /** How many of the most likely tokens to report beside the chosen one. Default 0. */
  readonly topLogprobs?: number;
}

/** A token and the natural logarithm of the probability that the model gave it, before penalties and temperature. */
export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
}

/** The chosen token. */
export interface Choice extends TokenLogprob {
  /** The most likely tokens, best first; present when `topLogprobs` is above 0. */
  readonly topLogprobs?: readonly TokenLogprob[];
}

/** Draws the tokens of one answer and remembers them for the penalties. */
export class Sampler {
  readonly #options: Required<Omit<SamplingOptions, 'seed'>>;
  readonly #random: () => number;
  readonly #prompt: ReadonlySet<number>;
  readonly #answerCounts = new Map<number, number>();

  /**
   * @param promptTokenIds the prompt, for the repetition penalty
   * @throws TypeError when an option is not a number, RangeError when it lies outside its range
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
   * Chooses the token after the given logits.
   *
   * @param banned tokens that may not be chosen
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

/** SplitMix64: a number from 0 to below 1 at each call. */
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
