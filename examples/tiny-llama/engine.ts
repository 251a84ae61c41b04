import { fileURLToPath } from 'node:url';
import type { EngineConfig, FinishReason, LLMEngine, LLMEngineOutput, PreprocessedRequest, RequestContext } from 'dynamo-node';
import { generate, type GenerateOptions, type TokenEvent } from './generate.js';
import { Llama } from './model.js';

/** The bundled checkpoint. */
export const modelPath = fileURLToPath(new URL('model', import.meta.url));

const BLOCK_SIZE = 64;
const MAX_SEQUENCES = 32;

/** The tiny Llama as Dynamo's engine: tokens in, tokens out. */
export class TinyLlamaEngine implements LLMEngine {
  #model: Llama | undefined;

  constructor(readonly name = 'tiny-llama') {}

  async start(): Promise<EngineConfig> {
    this.#model = await Llama.load(modelPath);
    const { maxPositions } = this.#model.config;
    return {
      model: this.name,
      llm: {
        contextLength: maxPositions,
        kvCacheBlockSize: BLOCK_SIZE,
        totalKvBlocks: (MAX_SEQUENCES * maxPositions) / BLOCK_SIZE,
        maxNumSeqs: MAX_SEQUENCES,
      },
    };
  }

  async *generate(request: PreprocessedRequest, { signal }: RequestContext): AsyncGenerator<LLMEngineOutput> {
    const model = this.#model;
    if (model === undefined) throw new Error('the engine has not started');
    const options = optionsOf(request, signal);
    const withLogprobs = options.topLogprobs !== undefined;
    const count = request.sampling_options.n ?? 1;
    const choices = Array.from({ length: count }, (_, index) => {
      const seed = options.seed === undefined ? {} : { seed: BigInt(options.seed) + BigInt(index) };
      return { index, events: generate(model, request.token_ids, { ...options, ...seed }) };
    });

    let completionTokens = 0;
    // The choices take turns; each token lets the event loop go on.
    while (choices.length > 0) {
      for (const choice of [...choices]) {
        const { done, value: event } = await choice.events.next();
        if (done === true) throw new Error('an answer ended without saying why');
        if (event.type === 'finish') {
          choices.splice(choices.indexOf(choice), 1);
          yield finished(choice.index, event.reason, request.token_ids.length, completionTokens);
        } else {
          completionTokens += 1;
          yield token(choice.index, event, withLogprobs);
        }
      }
    }
  }

  cleanup(): void {
    this.#model = undefined;
  }
}

function token(index: number, { tokenId, logprob, topLogprobs = [] }: TokenEvent, withLogprobs: boolean): LLMEngineOutput {
  if (!withLogprobs) return { token_ids: [tokenId], index };
  const top = topLogprobs.map((each, at) => ({ rank: at + 1, token_id: each.tokenId, logprob: each.logprob }));
  return { token_ids: [tokenId], index, log_probs: [logprob], top_logprobs: [top] };
}

function finished(index: number, reason: FinishReason, promptTokens: number, completionTokens: number): LLMEngineOutput {
  const usage = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
  return { token_ids: [], index, finish_reason: reason, completion_usage: usage };
}

function optionsOf(request: PreprocessedRequest, signal: AbortSignal): GenerateOptions {
  const { stop_conditions: stop, sampling_options: sampling, output_options: output } = request;
  const stopTokenIds = [
    ...(stop.stop_token_ids ?? []),
    ...(stop.stop_token_ids_visible ?? []),
    ...(stop.ignore_eos === true ? [] : (stop.stop_token_ids_hidden ?? [])),
  ];
  return {
    signal,
    stopTokenIds,
    ignoreEos: stop.ignore_eos ?? false,
    ...given('maxTokens', stop.max_tokens),
    ...given('minTokens', stop.min_tokens),
    ...given('temperature', sampling.temperature),
    ...given('topK', sampling.top_k),
    ...given('topP', sampling.top_p),
    ...given('minP', sampling.min_p),
    ...given('seed', sampling.seed),
    ...given('repetitionPenalty', sampling.repetition_penalty),
    ...given('frequencyPenalty', sampling.frequency_penalty),
    ...given('presencePenalty', sampling.presence_penalty),
    ...given('topLogprobs', output.logprobs),
  };
}

/** An option, unless the request leaves it to the engine. */
function given<Name extends string, Value>(name: Name, value: Value | null | undefined): { [Key in Name]?: Value } {
  return value === null || value === undefined ? {} : ({ [name]: value } as { [Key in Name]: Value });
}
