import { isAsyncIterable } from '../../check.js';
import type { RequestContext } from '../../runtime/context.js';
import type { EndpointDefinition } from '../endpoint-definition.js';
import { validate } from '../schema.js';
import type { ServiceContext } from '../service-context.js';

/** Answers a request: a stream, a value or a promise of it. */
export type Answer = (request: unknown, context: RequestContext) => unknown;

/** Without a schema the method answers itself, so a call costs nothing more. */
export function answerOf({ input, call, stream, name }: EndpointDefinition, self: unknown, of: ServiceContext): Answer {
  const answer: Answer = (request, context) => call(self, request, of, context);
  if (input === undefined) return answer;
  const path = `${of.service}.${name} request`;
  const checked = async (request: unknown, context: RequestContext): Promise<unknown> =>
    answer(await validate(path, input, request), context);
  if (!stream) return checked;
  return async function* (request, context) {
    const items = await checked(request, context);
    if (isAsyncIterable(items)) yield* items;
    else yield* items as Iterable<unknown>;
  };
}
