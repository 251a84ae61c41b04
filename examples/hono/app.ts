// A web application with its own users and limits, which calls a service of a graph.
import { DynamoError, type ErrorClass, HTTP_STATUSES } from 'dynamo-node';
import type { ClientOf } from 'dynamo-node/sdk';
import { Hono, type MiddlewareHandler } from 'hono';
import { bearerAuth } from 'hono/bearer-auth';
import { HTTPException } from 'hono/http-exception';
import { stream } from 'hono/streaming';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Writer } from './graph.js';

/** How the application protects itself. */
export interface AppOptions {
  /** The keys of its users. */
  readonly keys: readonly string[];
  /** The requests of one key in one minute. */
  readonly perMinute: number;
}

export function createApp(writer: ClientOf<Writer>, { keys, perMinute }: AppOptions): Hono {
  const app = new Hono();
  app.onError((error, context) => {
    if (error instanceof HTTPException) return error.getResponse();
    const status = HTTP_STATUSES[classOf(error)];
    return context.json({ error: status < 500 ? error.message : 'try again later' }, status as ContentfulStatusCode);
  });
  app.use(bearerAuth({ token: [...keys] }), rateLimit(perMinute));
  app.post('/shout', async (context) => {
    // A client that disconnects ends the call at the worker.
    const words = writer.shout(await context.req.json(), { signal: context.req.raw.signal, timeoutMs: 30_000 });
    const first = await words.next();
    return stream(context, async (response) => {
      if (first.done !== true) await response.write(first.value);
      for await (const word of words) await response.write(word);
    });
  });
  return app;
}

/** A body that is no JSON is a fault of the client. */
function classOf(error: Error): ErrorClass {
  if (error instanceof DynamoError) return error.class;
  return error instanceof SyntaxError ? 'InvalidRequest' : 'Internal';
}

/** Counts the requests of each key in a window of one minute. */
function rateLimit(perMinute: number): MiddlewareHandler {
  const windows = new Map<string, { readonly endsAt: number; left: number }>();
  return async (context, next) => {
    const key = context.req.header('authorization') ?? '';
    const now = Date.now();
    const known = windows.get(key);
    const window = known === undefined || known.endsAt <= now ? { endsAt: now + 60_000, left: perMinute } : known;
    windows.set(key, window);
    if (window.left-- > 0) return next();
    context.header('retry-after', String(Math.ceil((window.endsAt - now) / 1000)));
    return context.json({ error: `at most ${perMinute} requests a minute` }, 429);
  };
}
