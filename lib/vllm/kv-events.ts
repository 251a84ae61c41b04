import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { guarded } from '../addon/callback.js';
import { unpack } from '../addon/codec.js';
import { checkArray, checkInteger, wrongType } from '../check.js';
import { callback, integer, type OptionTable, optionTable, text } from '../options.js';
import { VllmError } from './errors.js';
import { addressText, connectZmtp, ZmtpConnection, type ZmtpEvents, type ZmtpLimits } from './zmtp.js';

/** A change of a vLLM worker's KV cache. Source: vLLM `distributed/kv_events.py`. */
export type VllmKvEvent =
  | {
      readonly kind: 'stored';
      /** The low 64 bits of each block's hash. */
      readonly blockHashes: readonly bigint[];
      /** The block before the first one; undefined at the start of a sequence. */
      readonly parentHash: bigint | undefined;
      /** The tokens of all blocks. */
      readonly tokens: readonly number[];
      readonly blockSize: number;
      /** What besides the tokens is part of each block's hash: adapter, media, salt. */
      readonly extraKeys: readonly unknown[];
    }
  | { readonly kind: 'removed'; readonly blockHashes: readonly bigint[] }
  | { readonly kind: 'cleared' };

const MASK = 2n ** 64n - 1n;

/**
 * Reads the payload of a message of vLLM's event publisher.
 *
 * @throws VllmError `vllm.protocol`
 */
export function decodeKvEvents(payload: Uint8Array): VllmKvEvent[] {
  try {
    const batch = unpack(payload);
    checkArray('batch', batch, 'the time, the events and the rank');
    const events = batch[1];
    checkArray('batch[1]', events, 'events');
    return events.flatMap((event, index) => eventFrom(`batch[1][${index}]`, event as Record<string, unknown>));
  } catch (cause) {
    throw new VllmError('vllm.protocol', `expected KV events: ${(cause as Error).message}`, { cause });
  }
}

function eventFrom(path: string, event: Record<string, unknown> | null): VllmKvEvent[] {
  switch (event?.['type']) {
    case 'BlockStored': {
      const { parent_block_hash: parent, token_ids: tokens, block_size: blockSize, extra_keys: extra } = event;
      checkArray(`${path}.token_ids`, tokens, 'tokens');
      for (const [index, token] of tokens.entries()) checkInteger(`${path}.token_ids[${index}]`, token, 0, 2 ** 32 - 1);
      checkInteger(`${path}.block_size`, blockSize, 1, 65536);
      const blockHashes = hashesFrom(`${path}.block_hashes`, event['block_hashes']);
      if (tokens.length !== blockHashes.length * blockSize)
        wrongType(`${path}.token_ids`, `${blockHashes.length} blocks of ${blockSize} tokens`, tokens);
      const parentHash = parent == null ? undefined : hashFrom(`${path}.parent_block_hash`, parent);
      const extraKeys = Array.isArray(extra) ? extra : [];
      return [{ kind: 'stored', blockHashes, parentHash, tokens: tokens as number[], blockSize, extraKeys }];
    }
    case 'BlockRemoved':
      return [{ kind: 'removed', blockHashes: hashesFrom(`${path}.block_hashes`, event['block_hashes']) }];
    case 'AllBlocksCleared':
      return [{ kind: 'cleared' }];
    default:
      // A later version may have further kinds.
      return [];
  }
}

function hashesFrom(path: string, hashes: unknown): bigint[] {
  checkArray(path, hashes, 'hashes');
  return hashes.map((hash, index) => hashFrom(`${path}[${index}]`, hash));
}

/** vLLM sends the low 64 bits, or with VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0 the whole hash. */
function hashFrom(path: string, hash: unknown): bigint {
  if (typeof hash === 'bigint') return hash & MASK;
  if (typeof hash === 'number' && Number.isSafeInteger(hash)) return BigInt(hash) & MASK;
  if (hash instanceof Uint8Array && hash.length >= 8)
    return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).readBigUInt64BE(hash.length - 8);
  wrongType(path, 'a hash', hash);
}

/** Where the events of a worker come from. */
export interface VllmKvEventOptions {
  /** The worker's host, or the address on which this process listens. @default '127.0.0.1' */
  readonly host?: string;
  /** The port; if this process listens, 0 for any free port. */
  readonly port: number;
  /** @default every topic */
  readonly topic?: string;
  /** Called for each event, in order. */
  readonly onEvent: (event: VllmKvEvent) => void;
  /** Called if messages were lost, or could not be read. */
  readonly onLoss?: (message: string) => void;
}

const EVENT_OPTIONS: OptionTable<VllmKvEventOptions> = optionTable<VllmKvEventOptions>({
  host: text.about("The worker's host, or the address on which this process listens."),
  port: integer(0, 65535).about('The port of the events.').required(),
  topic: text.about('The topic of the events.'),
  onEvent: callback<VllmKvEventOptions['onEvent']>().about('Called for each event.').required(),
  onLoss: callback<NonNullable<VllmKvEventOptions['onLoss']>>().about('Called if messages were lost.'),
});

const LIMITS: ZmtpLimits = { maxMessageBytes: 64 * 2 ** 20, maxParts: 3 };
const RECONNECT_MS = 500;
const MAX_PUBLISHERS = 64;

/**
 * Reads the KV events of vLLM workers: a ZeroMQ SUB socket over `node:net`.
 *
 * A worker whose `--kv-events-config` has an `endpoint` with `*` binds it, on all interfaces; `connect` is for that.
 * With `tcp://127.0.0.1:PORT` the worker connects; `listen` is for that.
 */
export class VllmKvEvents implements AsyncDisposable {
  readonly #connections = new Set<ZmtpConnection>();
  #server: Server | undefined;
  #retry: NodeJS.Timeout | undefined;
  #isOpen = true;

  private readonly options: VllmKvEventOptions;

  private constructor({ onEvent, onLoss, ...options }: VllmKvEventOptions) {
    const report = onLoss && guarded('the callback onLoss of KV events', onLoss);
    this.options = {
      ...options,
      onEvent: guarded('the callback onEvent of KV events', onEvent),
      ...(report && { onLoss: report }),
    };
  }

  /** Connects to a worker in the background, and again whenever it is not there. */
  static async connect(options: VllmKvEventOptions): Promise<VllmKvEvents> {
    const path = 'VllmKvEvents.connect options';
    EVENT_OPTIONS.check(path, options);
    checkInteger(`${path}.port`, options.port, 1, 65535);
    const events = new VllmKvEvents(options);
    events.#connect();
    return events;
  }

  /** Listens for workers that connect. */
  static async listen(options: VllmKvEventOptions): Promise<VllmKvEvents> {
    EVENT_OPTIONS.check('VllmKvEvents.listen options', options);
    const events = new VllmKvEvents(options);
    const server = createServer((socket) => events.#accept(socket));
    events.#server = server;
    const { host = '127.0.0.1', port } = options;
    server.listen(port, host);
    try {
      await once(server, 'listening');
    } catch (cause) {
      const reason = (cause as Error).message;
      const message = `VllmKvEvents.listen: cannot listen on ${addressText({ host, port })}: ${reason}`;
      throw new VllmError('vllm.unreachable', message, { cause });
    }
    return events;
  }

  /** The port on which it listens, or of the worker. */
  get port(): number {
    return (this.#server?.address() as AddressInfo | null | undefined)?.port ?? this.options.port;
  }

  #connect(): void {
    const { host = '127.0.0.1', port } = this.options;
    const again = (): void => {
      if (this.#isOpen) this.#retry = setTimeout(() => this.#connect(), RECONNECT_MS).unref();
    };
    const handlers = this.#events(() => connection, again);
    const connection: ZmtpConnection = connectZmtp({ host, port }, 'SUB', LIMITS, handlers);
    this.#connections.add(connection);
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= MAX_PUBLISHERS) return void socket.destroy();
    const handlers = this.#events(() => connection);
    const connection: ZmtpConnection = new ZmtpConnection(socket, 'SUB', LIMITS, handlers);
    this.#connections.add(connection);
  }

  #events(connection: () => ZmtpConnection, onEnd: () => void = () => {}): ZmtpEvents {
    let expected: bigint | undefined;
    const end = (): void => {
      this.#connections.delete(connection());
      onEnd();
    };
    return {
      onReady: () => {
        connection().send([Buffer.concat([Buffer.of(1), Buffer.from(this.options.topic ?? '')])]);
      },
      onMessage: ([, sequence, payload]) => {
        if (sequence?.length !== 8 || payload === undefined) return this.#lost('a message that is not of vLLM');
        const number = sequence.readBigUInt64BE();
        if (expected !== undefined && number !== expected) this.#lost(`${number - expected} messages were lost`);
        expected = number + 1n;
        this.#deliver(payload);
      },
      onFault: (error) => {
        this.#lost(error.message);
        end();
      },
      onClose: end,
    };
  }

  #deliver(payload: Buffer): void {
    let events: VllmKvEvent[];
    try {
      events = decodeKvEvents(payload);
    } catch (error) {
      return this.#lost((error as Error).message);
    }
    for (const event of events) this.options.onEvent(event);
  }

  #lost(message: string): void {
    this.options.onLoss?.(message);
  }

  /** Ends every connection. Idempotent. */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#retry);
    for (const connection of this.#connections) connection.destroy();
    this.#connections.clear();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
