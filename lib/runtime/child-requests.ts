import { randomUUID } from 'node:crypto';

import type { RequestContext } from './context.js';

/** Child requests in flight of each request, by the endpoint that they call. */
const inFlight = new WeakMap<RequestContext, Map<string, number>>();

/**
 * The id of a new child request. A worker keeps the requests that it starts by id, and of two with the same id one
 * fails (`dynamo-runtime` `pipeline/nodes/sources/base.rs`). So a child inherits the id if no other child calls the
 * same endpoint now; otherwise it gets the id with a suffix.
 */
export function childId(parent: RequestContext, endpoint: string): string {
  return inFlight.get(parent)?.has(endpoint) === true ? `${parent.id}-${randomUUID().slice(0, 8)}` : parent.id;
}

/** Counts a child request until the returned function is called. */
export function trackChild(parent: RequestContext, endpoint: string): () => void {
  const counts = inFlight.get(parent) ?? new Map<string, number>();
  inFlight.set(parent, counts);
  counts.set(endpoint, (counts.get(endpoint) ?? 0) + 1);
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    const left = (counts.get(endpoint) ?? 1) - 1;
    if (left === 0) counts.delete(endpoint);
    else counts.set(endpoint, left);
  };
}
