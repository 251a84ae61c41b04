/**
 * What a token engine gets and gives, with the names that it has on Dynamo's wire. Source: `dynamo-llm`
 * `protocols/common.rs`, `protocols/common/preprocessor.rs` and `protocols/common/llm_backend.rs`.
 */

/** When an answer ends. */
export interface StopConditions {
  /** Most tokens of the answer. */
  readonly max_tokens?: number | null;
  /** Strings that end the answer. The frontend looks for them and cuts them off; an engine may stop early. */
  readonly stop?: readonly string[] | null;
  /** Tokens that end the answer and are not part of it. */
  readonly stop_token_ids?: readonly number[] | null;
  /** Tokens that end the answer and are part of it. */
  readonly stop_token_ids_visible?: readonly number[] | null;
  /** Tokens of the model's own that end the answer and are not part of it. */
  readonly stop_token_ids_hidden?: readonly number[] | null;
  /** Fewest tokens of the answer. */
  readonly min_tokens?: number | null;
  /** Go on past the model's end token. */
  readonly ignore_eos?: boolean | null;
  /** Most tokens spent on thinking. */
  readonly max_thinking_tokens?: number | null;
}

/** How tokens are drawn; what is null is left to the engine. */
export interface SamplingOptions {
  readonly n?: number | null;
  readonly best_of?: number | null;
  readonly presence_penalty?: number | null;
  readonly frequency_penalty?: number | null;
  readonly repetition_penalty?: number | null;
  /** 0 takes the most likely token. */
  readonly temperature?: number | null;
  /** Above 0, up to 1. */
  readonly top_p?: number | null;
  /** -1 for all tokens. */
  readonly top_k?: number | null;
  readonly min_p?: number | null;
  readonly use_beam_search?: boolean | null;
  readonly length_penalty?: number | null;
  /** An i64: a bigint where it is beyond 2^53. */
  readonly seed?: number | bigint | null;
  readonly include_stop_str_in_output?: boolean | null;
  readonly guided_decoding?: GuidedDecoding | null;
}

/** A form that the answer must have: at most one of the first five. */
export interface GuidedDecoding {
  readonly json?: unknown;
  readonly regex?: string;
  readonly choice?: readonly string[];
  readonly grammar?: string;
  readonly structural_tag?: unknown;
  readonly backend?: string;
  readonly whitespace_pattern?: string;
}

/** What is reported beside the tokens. */
export interface OutputOptions {
  /** How many of the likeliest tokens to report with each token; 0 reports the chosen one alone. */
  readonly logprobs?: number | null;
  readonly prompt_logprobs?: number | null;
  readonly skip_special_tokens?: boolean | null;
  readonly formatted_prompt?: boolean | null;
  readonly return_tokens_as_token_ids?: boolean | null;
  readonly no_stop_trim?: boolean;
}

/** A request after the frontend has applied the chat template and the tokenizer. */
export interface PreprocessedRequest {
  readonly model: string;
  readonly token_ids: Uint32Array;
  readonly stop_conditions: StopConditions;
  readonly sampling_options: SamplingOptions;
  readonly output_options: OutputOptions;
  readonly eos_token_ids: readonly number[];
  readonly annotations: readonly string[];
  /** Checksum of the model card that the frontend used. */
  readonly mdc_sum?: string | null;
  /** The router's choice and what it expects of it. */
  readonly routing?: Readonly<Record<string, unknown>>;
  /** On a decode worker: what the prefill worker's last item said. */
  readonly prefill_result?: { readonly disaggregated_params: unknown; readonly prompt_tokens_details?: unknown };
  /** On workers whose prefill and decode start together: where they meet. */
  readonly bootstrap_info?: Readonly<Record<string, unknown>>;
  readonly multi_modal_data?: Readonly<Record<string, readonly unknown[]>>;
  readonly encoder_result?: Readonly<Record<string, unknown>>;
  readonly extra_args?: unknown;
  readonly require_reasoning?: boolean;
  /** True for a health probe: answer it without other workers. */
  readonly _HEALTH_CHECK?: boolean;
  readonly [field: string]: unknown;
}

/**
 * Why an answer ended: the model's end token, `max_tokens` or the context, a stop token or string, the caller, a filter, or
 * an error.
 */
export type FinishReason = 'eos' | 'length' | 'stop' | 'cancelled' | 'content_filter' | { readonly error: string };

/** One candidate for a token. */
export interface TopLogprob {
  /** From 1 for the likeliest. */
  readonly rank: number;
  readonly token_id: number;
  readonly token?: string | null;
  readonly logprob: number;
  readonly bytes?: readonly number[];
}

/** Tokens that a request used, as the OpenAI API counts them. */
export interface CompletionUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number; readonly audio_tokens?: number };
}

/**
 * One item of an answer. Exactly the last one has a `finish_reason`. Without `text` the frontend turns the tokens into
 * text.
 */
export interface LLMEngineOutput {
  /** New tokens since the item before. */
  readonly token_ids: readonly number[] | Uint32Array;
  readonly text?: string;
  readonly tokens?: readonly (string | null)[];
  readonly finish_reason?: FinishReason;
  /** The stop string or token that ended the answer. */
  readonly stop_reason?: string | number;
  /** The natural logarithm of each token's probability, one for each of `token_ids`. */
  readonly log_probs?: readonly number[];
  /** The likeliest candidates at each of `token_ids`. */
  readonly top_logprobs?: readonly (readonly TopLogprob[])[];
  readonly cum_log_probs?: number;
  /** Which of the `n` answers of the request this belongs to. */
  readonly index?: number;
  /** With the last item: counts for the usage that clients see. */
  readonly completion_usage?: CompletionUsage;
  /** From a prefill worker, with its last item: what the decode worker needs. */
  readonly disaggregated_params?: unknown;
  /** From an encode worker, with its last item: what the next worker needs. */
  readonly encoder_result?: Readonly<Record<string, unknown>>;
  /** Handed on to the client as `nvext.engine_data`. */
  readonly engine_data?: unknown;
  readonly extra_args?: unknown;
}
