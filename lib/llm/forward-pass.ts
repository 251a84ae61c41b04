import { Closeable } from '../addon/closeable.js';
import { pack, packArgs, textBytes } from '../addon/codec.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInstance, checkInteger, checkNumber, checkString, MAX_I32 } from '../check.js';
import { custom, defined, integer, nested, type OptionRows, type OptionTable, optionTable, text } from '../options.js';
import { Endpoint } from '../runtime/endpoint.js';

/** Requests that wait for a pass. An absent field is 0. */
export interface QueuedWork {
  /** Requests that wait for their first pass. */
  readonly prefillRequests?: number;
  /** The prompt tokens of these requests, in total. */
  readonly prefillTokens?: number;
  /** The variance of the lengths of these prompts. */
  readonly prefillLengthVariance?: number;
  /** Preempted requests, which had already begun to decode. */
  readonly decodeRequests?: number;
  /** The tokens of the decode requests in the KV cache, in total. */
  readonly decodeKvTokens?: number;
  /** The variance of these token counts. */
  readonly decodeKvVariance?: number;
}

/** Requests that a pass processed. An absent field is 0. */
export interface ScheduledWork extends QueuedWork {
  /** Prompt tokens that were already in the KV cache. */
  readonly prefillKvTokens?: number;
}

/** One pass of an engine through its model. */
export interface ForwardPass {
  /** The duration of the pass. */
  readonly wallTimeSeconds: number;
  readonly scheduled?: ScheduledWork;
  readonly queued?: QueuedWork;
}

/** How forward passes are published. */
export interface ForwardPassPublisherOptions {
  /** Data-parallel ranks. @default 1 */
  readonly ranks?: number;
  /** The name of the worker in the metrics. @default the endpoint's instance id, in decimal */
  readonly workerId?: string;
}

const anyNumber = custom<number>('a number', checkNumber, 'number');

const QUEUED_ROWS: OptionRows<QueuedWork> = {
  prefillRequests: integer(0, MAX_I32),
  prefillTokens: integer(0),
  prefillLengthVariance: anyNumber,
  decodeRequests: integer(0, MAX_I32),
  decodeKvTokens: integer(0),
  decodeKvVariance: anyNumber,
};

const FORWARD_PASS: OptionTable<ForwardPass> = optionTable<ForwardPass>({
  wallTimeSeconds: anyNumber.required(),
  scheduled: nested(optionTable<ScheduledWork>({ ...QUEUED_ROWS, prefillKvTokens: integer(0) })),
  queued: nested(optionTable<QueuedWork>(QUEUED_ROWS)),
});

const PUBLISHER_OPTIONS: OptionTable<ForwardPassPublisherOptions> = optionTable<ForwardPassPublisherOptions>({
  ranks: integer(1, 1 << 16).about('Data-parallel ranks.'),
  workerId: text.about('The name of the worker in the metrics.'),
});

/**
 * Publishes the activity of an engine's scheduler for planners. A rank that publishes nothing for a second is reported
 * as idle.
 *
 * @example
 * const publisher = await ForwardPassPublisher.create(endpoint);
 * publisher.publish({ wallTimeSeconds: 0.02, scheduled: { decodeRequests: 8, decodeKvTokens: 4096 } });
 */
export class ForwardPassPublisher extends Closeable<'forwardPass'> {
  private constructor(handle: Handle<'forwardPass'>) {
    super('the publisher', handle);
  }

  /** Publishes the forward passes of the worker that serves `endpoint`. */
  static async create(endpoint: Endpoint, options: ForwardPassPublisherOptions = {}): Promise<ForwardPassPublisher> {
    const operation = 'ForwardPassPublisher.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    PUBLISHER_OPTIONS.check(`${operation} options`, options);
    const { ranks = 1, workerId } = options;
    const args = pack(defined({ ranks, workerId }));
    return new ForwardPassPublisher(
      await invoke(native.forwardPassOpen, operation, { handle: endpoint.handle(operation), args }),
    );
  }

  /** Publishes one pass of a rank, with the requests that are queued after it. */
  publish(pass: ForwardPass, rank = 0): void {
    const operation = 'forwardPass.publish';
    const handle = this.handle(operation);
    FORWARD_PASS.check(`${operation} pass`, pass);
    checkInteger(`${operation} rank`, rank, 0);
    const { wallTimeSeconds, scheduled = {}, queued = {} } = pass;
    const args = packArgs({ wallTimeSeconds, scheduled: defined(scheduled), queued: defined(queued) });
    invokeSync(native.forwardPassPublish, operation, { handle, args, a: arg('dpRank', rank) });
  }

  /** @internal */
  protected closeHandle(handle: Handle<'forwardPass'>): void {
    invokeSync(native.forwardPassClose, 'forwardPass.close', { handle });
  }
}

/** Relays the forward passes that an engine in another process publishes on a ZMQ socket, such as vLLM's scheduler. */
export class ForwardPassRelay extends Closeable<'forwardPassRelay'> {
  private constructor(handle: Handle<'forwardPassRelay'>) {
    super('the relay', handle);
  }

  /** `address` is the address of the engine's PUB socket, such as `tcp://127.0.0.1:20380`. */
  static async create(endpoint: Endpoint, address: string): Promise<ForwardPassRelay> {
    const operation = 'ForwardPassRelay.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkString(`${operation} address`, address);
    const parts = { handle: endpoint.handle(operation), payload: textBytes(address) };
    return new ForwardPassRelay(await invoke(native.forwardPassRelay, operation, parts));
  }

  /** @internal */
  protected closeHandle(handle: Handle<'forwardPassRelay'>): void {
    invokeSync(native.forwardPassClose, 'forwardPassRelay.close', { handle });
  }
}
