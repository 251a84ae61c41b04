/**
 * Requests and responses of a token engine, with the field names of Dynamo's wire format. Source: `dynamo-llm`
 * `protocols/common.rs`, `protocols/common/preprocessor.rs` and `protocols/common/llm_backend.rs`.
 */

/** The conditions that end a response. */
export interface StopConditions {
  /** The maximum number of tokens in the response. */
  readonly max_tokens?: number | null;
  /** Strings that end the response. The frontend detects and removes them; an engine may stop early. */
  readonly stop?: readonly string[] | null;
  /** Tokens that end the response and are not part of it. */
  readonly stop_token_ids?: readonly number[] | null;
  /** Tokens that end the response and are part of it. */
  readonly stop_token_ids_visible?: readonly number[] | null;
  /** The model's own stop tokens. They end the response and are not part of it. */
  readonly stop_token_ids_hidden?: readonly number[] | null;
  /** The minimum number of tokens in the response. */
  readonly min_tokens?: number | null;
  /** Continue after the model's end token. */
  readonly ignore_eos?: boolean | null;
  /** The maximum number of thinking tokens. */
  readonly max_thinking_tokens?: number | null;
}

/** How tokens are sampled. The engine decides about a field that is null or absent. */
export interface SamplingOptions {
  readonly n?: number | null;
  readonly best_of?: number | null;
  readonly presence_penalty?: number | null;
  readonly frequency_penalty?: number | null;
  readonly repetition_penalty?: number | null;
  /** 0 selects the most likely token. */
  readonly temperature?: number | null;
  /** Above 0, up to 1. */
  readonly top_p?: number | null;
  /** -1 for all tokens. */
  readonly top_k?: number | null;
  readonly min_p?: number | null;
  readonly use_beam_search?: boolean | null;
  readonly length_penalty?: number | null;
  /** A signed 64-bit integer; a bigint beyond 2^53. */
  readonly seed?: number | bigint | null;
  readonly include_stop_str_in_output?: boolean | null;
  readonly guided_decoding?: GuidedDecoding | null;
}

/** A format that the response must have. At most one of the first five fields is set. */
export interface GuidedDecoding {
  readonly json?: unknown;
  readonly regex?: string;
  readonly choice?: readonly string[];
  readonly grammar?: string;
  readonly structural_tag?: unknown;
  readonly backend?: string;
  readonly whitespace_pattern?: string;
}

/** What is reported in addition to the tokens. */
export interface OutputOptions {
  /** The number of most likely tokens to report with each token; 0 reports only the chosen one. */
  readonly logprobs?: number | null;
  readonly prompt_logprobs?: number | null;
  readonly skip_special_tokens?: boolean | null;
  readonly formatted_prompt?: boolean | null;
  readonly return_tokens_as_token_ids?: boolean | null;
  readonly no_stop_trim?: boolean;
}

/** A request to which the frontend has applied the chat template and the tokenizer. */
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
  /** The router's choice, and what it expects of the worker. */
  readonly routing?: Readonly<Record<string, unknown>>;
  /** On a decode worker: the result of the prefill worker, from its last item. */
  readonly prefill_result?: { readonly disaggregated_params: unknown; readonly prompt_tokens_details?: unknown };
  /** If prefill and decode start together: the address of the rendezvous. */
  readonly bootstrap_info?: Readonly<Record<string, unknown>>;
  readonly multi_modal_data?: Readonly<Record<string, readonly unknown[]>>;
  readonly encoder_result?: Readonly<Record<string, unknown>>;
  readonly extra_args?: unknown;
  readonly require_reasoning?: boolean;
  /** True for a health probe, which the engine answers without other workers. */
  readonly _HEALTH_CHECK?: boolean;
  readonly [field: string]: unknown;
}

/**
 * Why a response ended: the model's end token, the token limit or the context length, a stop token or string, the
 * caller, a content filter, or an error.
 */
export type FinishReason = 'eos' | 'length' | 'stop' | 'cancelled' | 'content_filter' | { readonly error: string };

/** One candidate for a token. */
export interface TopLogprob {
  /** 1 for the most likely token. */
  readonly rank: number;
  readonly token_id: number;
  readonly token?: string | null;
  readonly logprob: number;
  readonly bytes?: readonly number[];
}

/** The token counts of a request, as in the OpenAI API. */
export interface CompletionUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number; readonly audio_tokens?: number };
}

/**
 * One item of a response. Only the last one has a `finish_reason`. Without `text`, the frontend detokenizes the tokens.
 */
export interface LLMEngineOutput {
  /** The tokens since the previous item. */
  readonly token_ids: readonly number[] | Uint32Array;
  readonly text?: string;
  readonly tokens?: readonly (string | null)[];
  readonly finish_reason?: FinishReason;
  /** The stop string or token that ended the response. */
  readonly stop_reason?: string | number;
  /** The natural logarithm of each token's probability, one per entry of `token_ids`. */
  readonly log_probs?: readonly number[];
  /** The most likely candidates for each entry of `token_ids`. */
  readonly top_logprobs?: readonly (readonly TopLogprob[])[];
  readonly cum_log_probs?: number;
  /** The index of the choice, if the request has several (`n`). */
  readonly index?: number;
  /** In the last item: the usage that clients see. */
  readonly completion_usage?: CompletionUsage;
  /** In the last item of a prefill worker: the input of the decode worker. */
  readonly disaggregated_params?: unknown;
  /** In the last item of an encode worker: the input of the next worker. */
  readonly encoder_result?: Readonly<Record<string, unknown>>;
  /** Passed to the client as `nvext.engine_data`. */
  readonly engine_data?: unknown;
  readonly extra_args?: unknown;
}
