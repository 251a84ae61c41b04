import { setTimeout as sleep } from 'node:timers/promises';
import type { RoutingExplanation } from '../router/explanation.js';
import { KvRouter } from '../router/kv-router.js';
import type { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { type RouteQuestion, routingViewOf } from './routing-view.js';
import type { RoutingView } from './view.js';

/** A new router asks the workers for their blocks. */
const LEARN_MS = 1500;
const LEARN_INTERVAL_MS = 100;

/**
 * Explains why a KV router chose a worker, after the request.
 *
 * @returns undefined if the workers say nothing about their blocks
 * @throws DynamoError if no router can be made
 */
export async function explainRoute(
  runtime: DistributedRuntime,
  question: RouteQuestion,
): Promise<RoutingView | undefined> {
  const { endpoint, blockSize, tokens, chosen } = question;
  await using router = await KvRouter.create(runtime.endpoint(endpoint), { blockSize });
  const isLearnt = ({ candidates }: RoutingExplanation): boolean =>
    candidates.some(({ workerId, deviceBlocks }) => String(workerId) === chosen && deviceBlocks > 0);
  const untilMs = performance.now() + LEARN_MS;
  for (;;) {
    const explanation = await router.explain({ tokens });
    if (isLearnt(explanation) || tokens.length < blockSize) return routingViewOf(explanation, question);
    if (performance.now() > untilMs) return undefined;
    await sleep(LEARN_INTERVAL_MS);
  }
}
