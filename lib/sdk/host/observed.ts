import type { LLMEngine, RawEngine } from '../../llm/engine.js';
import type { RequestContext } from '../../runtime/context.js';
import type { Answer } from './answers.js';

/** Takes a request to an endpoint, as it arrived. An engine has the endpoint `generate`. */
export type OnRequest = (endpoint: string, request: unknown, context: RequestContext) => void;

export function observedAnswer(endpoint: string, answer: Answer, onRequest: OnRequest): Answer {
  return (request, context) => {
    onRequest(endpoint, request, context);
    return answer(request, context);
  };
}

/** The same engine, whose methods have itself as `this`. */
export function observedEngine(engine: LLMEngine | RawEngine, onRequest: OnRequest): LLMEngine | RawEngine {
  const generate = (request: never, context: never): unknown => {
    onRequest('generate', request, context);
    return engine.generate(request, context);
  };
  return new Proxy(engine, {
    get(target, name) {
      if (name === 'generate') return generate;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
