import type { RecalledPhases } from '../deploy/local/worker-messages.js';
import type { TraceSpan, TraceView } from './view.js';

/** The timing that a frontend adds to its answer. Source: `dynamo-llm` `protocols/common/timing.rs`. */
export interface FrontendTiming {
  /** Whole milliseconds since 1970. */
  readonly request_received_ms?: number;
  readonly prefill_wait_time_ms?: number;
  readonly prefill_time_ms?: number;
  readonly ttft_ms?: number;
  readonly total_time_ms?: number;
  readonly kv_hit_rate?: number;
  readonly router_queue_depth?: number;
  /** From the end of prefill to the first token of decode: at least the time of the transfer. */
  readonly kv_transfer_estimated_latency_ms?: number;
}

/** The instances that a frontend chose, in decimal. */
export interface ChosenWorkers {
  readonly prefill?: string;
  readonly decode?: string;
}

/** What is known of a request that has ended. Times of this process are milliseconds since it was sent. */
export interface TraceFacts {
  /** When it was sent, in milliseconds since 1970. */
  readonly sentAtMs: number;
  readonly firstTokenMs: number | undefined;
  readonly totalMs: number;
  readonly timing: FrontendTiming | undefined;
  readonly chosen: ChosenWorkers;
  /** What workers recall of it. */
  readonly recalled: readonly RecalledPhases[];
  /** The `id` of an instance in the snapshot, by its id in discovery. */
  readonly idOf: (instanceId: string) => string;
}

const workerOf = ({ service, number }: RecalledPhases): string => `${service}#${number}`;

/** A span within the request: clocks of other processes differ by a little. */
function within(totalMs: number, span: TraceSpan): TraceSpan {
  const clamp = (ms: number): number => Math.min(totalMs, Math.max(0, ms));
  return { ...span, startMs: clamp(span.startMs), endMs: Math.max(clamp(span.startMs), clamp(span.endMs)) };
}

function decodeOf(facts: TraceFacts, decoder: RecalledPhases | undefined): TraceSpan | undefined {
  const { totalMs, firstTokenMs, timing, chosen, sentAtMs, idOf } = facts;
  const instance =
    decoder !== undefined ? workerOf(decoder) : chosen.decode === undefined ? undefined : idOf(chosen.decode);
  if (decoder?.firstTokenAtMs !== undefined)
    return {
      name: 'decode',
      startMs: decoder.firstTokenAtMs - sentAtMs,
      endMs: (decoder.endedAtMs ?? sentAtMs + totalMs) - sentAtMs,
      source: 'worker',
      isEstimate: false,
      instance,
      detail: `${decoder.tokens} tokens, from the first one`,
    };
  const { ttft_ms: ttft, total_time_ms: total } = timing ?? {};
  if (ttft !== undefined && total !== undefined) {
    const received = receivedMs(facts);
    return {
      name: 'decode',
      startMs: received + ttft,
      endMs: received + total,
      source: 'frontend',
      isEstimate: true,
      instance,
    };
  }
  if (firstTokenMs === undefined) return undefined;
  return { name: 'decode', startMs: firstTokenMs, endMs: totalMs, source: 'client', isEstimate: false, instance };
}

/** When the frontend received it. It reports whole milliseconds of its clock. */
function receivedMs({ timing, sentAtMs, totalMs }: TraceFacts): number {
  const received = (timing?.request_received_ms ?? sentAtMs) - sentAtMs;
  const latest = Math.max(0, totalMs - (timing?.total_time_ms ?? 0));
  return Math.min(latest, Math.max(0, received));
}

/** Preprocessing, and the choice of the worker. */
function queueOf(facts: TraceFacts, instance: string | undefined): TraceSpan[] {
  const { prefill_wait_time_ms: wait, router_queue_depth: depth, kv_hit_rate: hitRate } = facts.timing ?? {};
  if (wait === undefined) return [];
  const startMs = receivedMs(facts);
  const details = [
    'preprocessing and routing',
    ...(depth === undefined ? [] : [`requests that waited in the router: ${depth}`]),
    ...(hitRate === undefined ? [] : [`the router expected ${Math.round(hitRate * 100)}% of the prompt in the cache`]),
    ...(instance === undefined ? [] : [`it chose ${instance}`]),
  ];
  const detail = details.join('; ');
  return [{ name: 'queue', startMs, endMs: startMs + wait, source: 'frontend', isEstimate: true, detail }];
}

function prefillOf(facts: TraceFacts, prefiller: RecalledPhases | undefined): TraceSpan[] {
  const { timing, chosen, idOf, sentAtMs } = facts;
  const received = receivedMs(facts);
  const { prefill_wait_time_ms: wait, prefill_time_ms: prefill } = timing ?? {};
  const instanceId = chosen.prefill ?? chosen.decode;
  const instance =
    prefiller !== undefined ? workerOf(prefiller) : instanceId === undefined ? undefined : idOf(instanceId);
  const queue = queueOf(facts, instance);
  if (prefiller !== undefined) {
    const endedAtMs = prefiller.firstTokenAtMs ?? prefiller.endedAtMs;
    if (endedAtMs !== undefined) {
      const times = { startMs: prefiller.arrivedAtMs - sentAtMs, endMs: endedAtMs - sentAtMs };
      return [...queue, { name: 'prefill', ...times, source: 'worker', isEstimate: false, instance }];
    }
  }
  if (prefill === undefined) return queue;
  const startMs = received + (wait ?? 0);
  return [
    ...queue,
    { name: 'prefill', startMs, endMs: startMs + prefill, source: 'frontend', isEstimate: true, instance },
  ];
}

function transferOf(facts: TraceFacts, decoder: RecalledPhases | undefined): TraceSpan[] {
  const { timing, chosen, idOf, sentAtMs } = facts;
  const { transfer } = decoder ?? {};
  if (decoder !== undefined && transfer !== undefined) {
    const endMs = transfer.endedAtMs - sentAtMs;
    const startMs = endMs - transfer.durationMs;
    const common = { source: 'worker', isEstimate: false, instance: workerOf(decoder) } as const;
    const from = `from ${idOf(transfer.from)}`;
    const moved = `${transfer.blocks} blocks, ${transfer.bytes} bytes ${from} by ${transfer.transport}`;
    const waited: TraceSpan[] =
      transfer.waitMs > 0
        ? [
            {
              name: 'wait',
              startMs: startMs - transfer.waitMs,
              endMs: startMs,
              ...common,
              detail: `for the offer ${from}`,
            },
          ]
        : [];
    return [...waited, { name: 'transfer', startMs, endMs, ...common, detail: moved }];
  }
  const estimate = timing?.kv_transfer_estimated_latency_ms;
  if (estimate === undefined || chosen.prefill === undefined || chosen.prefill === chosen.decode) return [];
  const endMs = receivedMs(facts) + (timing?.prefill_wait_time_ms ?? 0) + (timing?.prefill_time_ms ?? 0) + estimate;
  return [
    {
      name: 'transfer',
      startMs: endMs - estimate,
      endMs,
      source: 'frontend',
      isEstimate: true,
      ...(chosen.decode === undefined ? {} : { instance: idOf(chosen.decode) }),
      detail: 'upper bound: from the end of prefill to the first token of decode',
    },
  ];
}

/** The parts of a request's way, and what is not known of them. */
export function spansOf(facts: TraceFacts): Pick<TraceView, 'spans' | 'notes'> {
  const { recalled, chosen, totalMs, timing } = facts;
  // With prefill elsewhere the prefill worker answered first. Without, one worker did both.
  const ordered = [...recalled].sort((a, b) => a.arrivedAtMs - b.arrivedAtMs);
  const isSplit = chosen.prefill !== undefined && chosen.prefill !== chosen.decode;
  const decoder = ordered.find(({ transfer }) => transfer !== undefined) ?? (isSplit ? ordered[1] : ordered[0]);
  const prefiller = isSplit ? ordered.find((one) => one !== decoder) : ordered[0];
  const request: TraceSpan = { name: 'request', startMs: 0, endMs: totalMs, source: 'client', isEstimate: false };
  const parts = [...prefillOf(facts, prefiller), ...transferOf(facts, decoder), decodeOf(facts, decoder)];
  const notes = [
    ...(timing === undefined ? ['the frontend reported no timing'] : []),
    ...(chosen.decode === undefined && chosen.prefill === undefined ? ['the frontend did not name the workers'] : []),
    ...(recalled.length === 0
      ? ['no worker reported its phases: only engines in TypeScript that `dynamo serve` runs do']
      : []),
  ];
  return {
    spans: [request, ...parts.filter((span) => span !== undefined).map((span) => within(totalMs, span))],
    notes,
  };
}
