import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { guarded } from '../addon/callback.js';
import { pack, packArgs, unpack } from '../addon/codec.js';
import { checkInteger } from '../check.js';
import { callback, integer, milliseconds, nested, type OptionTable, optionTable, signal, text } from '../options.js';
import { VllmError } from './errors.js';
import { decodeHandshake, encodeHandshake, type VllmHandshake } from './metadata.js';
import { addressText, connectZmtp, type SocketAddress, ZmtpConnection, type ZmtpLimits } from './zmtp.js';
import type { ZmtpFault } from './zmtp-frames.js';

const QUESTION = Buffer.from('get_meta_msg');
const NOTHING = Buffer.alloc(0);
const MIB = 2 ** 20;

/** Python's `time.perf_counter()`: seconds of the monotonic clock. */
/** This process's monotonic clock in seconds, as Python's `time.perf_counter`. */
export const perfCounter = (): number => Number(process.hrtime.bigint()) / 1e9;

/** One rank of a worker. */
export interface VllmRank {
  /** @default 0 */
  readonly pipeline?: number;
  /** @default 0 */
  readonly tensor?: number;
}

/** How a side channel is asked. */
export interface AskOptions {
  readonly host: string;
  readonly port: number;
  /**
   * The rank whose memory is described. Ask only for ranks that the worker's `kv_transfer_params` name: below `pp_size`
   * and `tp_size`.
   *
   * @default rank 0 of both kinds, which every worker has
   */
  readonly rank?: VllmRank;
  /** @default 5000 */
  readonly timeoutMs?: number;
  /** The longest answer. @default 16777216 */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** @internal */
export const RANK_OPTIONS: OptionTable<VllmRank> = optionTable<VllmRank>({
  pipeline: integer(0, 1023).about('The pipeline-parallel rank.'),
  tensor: integer(0, 1023).about('The tensor-parallel rank.'),
});

const ASK_OPTIONS: OptionTable<AskOptions> = optionTable<AskOptions>({
  host: text.about('Host of the side channel.').required(),
  port: integer(1, 65535).about('Port of the side channel.').required(),
  rank: nested(RANK_OPTIONS).about('The rank whose memory is described.'),
  timeoutMs: milliseconds(1).about('How long to wait for the answer.'),
  maxBytes: integer(1024).about('The longest answer in bytes.'),
  signal: signal.about('Ends the wait.'),
});

/** The answer of a worker's side channel. */
export interface SideChannelAnswer extends VllmHandshake {
  /** The worker's monotonic clock minus this process's, in seconds; half the round trip is uncertain. */
  readonly clockOffsetSeconds: number;
  readonly durationMs: number;
}

/**
 * Asks a vLLM worker for its KV memory, its NIXL agent and its compatibility hash, as another worker does before it
 * reads. Every worker with the connector answers, also one that only consumes. Source: vLLM `nixl/base_scheduler.py`.
 *
 * @throws VllmError `vllm.unreachable`, `vllm.protocol`
 */
export async function askSideChannel(options: AskOptions): Promise<SideChannelAnswer> {
  ASK_OPTIONS.check('askSideChannel options', options);
  const { host, port, rank: { pipeline = 0, tensor = 0 } = {}, timeoutMs = 5000, maxBytes = 16 * MIB } = options;
  const start = perfCounter();
  const limits = { maxMessageBytes: maxBytes, maxParts: 3 };
  const answer = await request(
    { host, port },
    packArgs([QUESTION, pipeline, tensor]),
    limits,
    timeoutMs,
    options.signal,
  );
  const end = perfCounter();
  const [payload, clock, ...others] = answer;
  if (payload === undefined || clock === undefined || others.length > 0)
    throw new VllmError('vllm.protocol', `expected an answer of two frames, got ${answer.length}`);
  const theirs = clockFrom(clock);
  return {
    ...decodeHandshake(payload),
    clockOffsetSeconds: theirs - (start + end) / 2,
    durationMs: (end - start) * 1000,
  };
}

function clockFrom(bytes: Buffer): number {
  let clock: unknown;
  try {
    clock = unpack(bytes);
  } catch {
    // It is no number then.
  }
  if (typeof clock !== 'number' || !Number.isFinite(clock))
    throw new VllmError('vllm.protocol', 'the second frame of the answer: expected the time, got something else');
  return clock;
}

/** Sends one request over its own connection. Returns the parts of the answer. */
function request(
  address: SocketAddress,
  body: Uint8Array,
  limits: ZmtpLimits,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<readonly Buffer[]> {
  signal?.throwIfAborted();
  const place = addressText(address);
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      connection.destroy();
      finish();
    };
    const fail = (error: unknown): void => settle(() => reject(error));
    const unreachable = (message: string, cause?: Error): void =>
      fail(new VllmError('vllm.unreachable', `the side channel at ${place} ${message}`, { cause }));
    const onAbort = (): void => fail(signal?.reason);
    const timer = setTimeout(() => unreachable(`did not answer within ${timeoutMs} ms`), timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    const connection: ZmtpConnection = connectZmtp(address, 'REQ', limits, {
      onReady: () => connection.send([NOTHING, body]),
      onMessage: ([delimiter, ...parts]) => {
        if (delimiter?.length === 0) settle(() => resolve(parts));
        else fail(new VllmError('vllm.protocol', `the answer of ${place} has no delimiter`));
      },
      onFault: (error) => fail(new VllmError('vllm.protocol', `${place}: ${error.message}`, { cause: error })),
      onClose: (error) => unreachable(`closed the connection${error === undefined ? '' : `: ${error.message}`}`, error),
    });
  });
}

/** Why a side channel refused a connection or a question. `timeout`: nothing complete arrived in time. */
export type SideChannelFault = ZmtpFault | 'timeout' | 'question' | 'rank' | 'busy';

/** How a side channel listens. */
export interface SideChannelOptions {
  /** Every process that reaches it gets the metadata, and with it the memory. @default '127.0.0.1' */
  readonly host?: string;
  /** 0 for any free port. @default 0 */
  readonly port?: number;
  /** Tensor-parallel ranks that have an answer. @default 1 */
  readonly ranks?: number;
  /** The most connections at a time; others are closed. @default 64 */
  readonly maxConnections?: number;
  /** How long a connection may be open without a complete question. @default 5000 */
  readonly timeoutMs?: number;
  /** Called for each refused connection. */
  readonly onFault?: (fault: SideChannelFault, message: string) => void;
}

const SIDE_CHANNEL_OPTIONS: OptionTable<SideChannelOptions> = optionTable<SideChannelOptions>({
  host: text.about('The address on which it listens.'),
  port: integer(0, 65535).about('The port; 0 for any free port.'),
  ranks: integer(1, 1024).about('Tensor-parallel ranks that have an answer.'),
  maxConnections: integer(1).about('The most connections at a time.'),
  timeoutMs: milliseconds(1).about('How long a connection may be open without a complete question.'),
  onFault: callback<NonNullable<SideChannelOptions['onFault']>>().about('Called for each refused connection.'),
});

/** A question has three frames at most, and is short. */
const QUESTION_LIMITS: ZmtpLimits = { maxMessageBytes: 4096, maxParts: 8 };

/** Counts of a side channel since its start. */
export interface SideChannelStatistics {
  readonly connections: number;
  readonly answered: number;
  /** Refused connections and questions, by reason. */
  readonly refused: Readonly<Partial<Record<SideChannelFault, number>>>;
}

/**
 * The side channel of a process that serves KV to vLLM: a ZeroMQ ROUTER socket over `node:net`. It answers the one
 * question that vLLM's workers send, and closes every connection that sends anything else.
 */
export class SideChannel implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();
  readonly #refused: Partial<Record<SideChannelFault, number>> = {};
  #connections = 0;
  #answered = 0;
  #closing: Promise<void> | undefined;

  private constructor(
    private readonly server: Server,
    private readonly answer: (tensorRank: number) => VllmHandshake,
    private readonly options: Required<Omit<SideChannelOptions, 'onFault'>> & Pick<SideChannelOptions, 'onFault'>,
  ) {}

  /** Starts to listen. `answer` describes the memory of one tensor-parallel rank. */
  static async listen(
    answer: (tensorRank: number) => VllmHandshake,
    options: SideChannelOptions = {},
  ): Promise<SideChannel> {
    const operation = 'SideChannel.listen';
    SIDE_CHANNEL_OPTIONS.check(`${operation} options`, options);
    const { host = '127.0.0.1', port = 0, ranks = 1, maxConnections = 64, timeoutMs = 5000, onFault } = options;
    const server = createServer();
    server.listen(port, host);
    try {
      await once(server, 'listening');
    } catch (cause) {
      const message = `${operation}: cannot listen on ${addressText({ host, port })}: ${(cause as Error).message}`;
      throw new VllmError('vllm.unreachable', message, { cause });
    }
    const { port: bound } = server.address() as AddressInfo;
    const report = onFault && guarded('the callback onFault of a side channel', onFault);
    const settings = { host, port: bound, ranks, maxConnections, timeoutMs, onFault: report };
    const channel = new SideChannel(server, answer, settings);
    server.on('connection', (socket) => channel.#serve(socket));
    return channel;
  }

  get host(): string {
    return this.options.host;
  }

  /** The port on which it listens, also if the option `port` was 0. */
  get port(): number {
    return this.options.port;
  }

  /** Counts since the start. */
  statistics(): SideChannelStatistics {
    return { connections: this.#connections, answered: this.#answered, refused: { ...this.#refused } };
  }

  #refuse(fault: SideChannelFault, message: string): void {
    this.#refused[fault] = (this.#refused[fault] ?? 0) + 1;
    this.options.onFault?.(fault, message);
  }

  #serve(socket: Socket): void {
    this.#connections += 1;
    if (this.#sockets.size >= this.options.maxConnections) {
      socket.destroy();
      return this.#refuse('busy', `${this.#sockets.size} connections are open`);
    }
    this.#sockets.add(socket);
    const refuse = (fault: SideChannelFault, message: string): void => {
      connection.destroy();
      this.#refuse(fault, message);
    };
    // An idle connection of ZeroMQ sends nothing, so this also ends one that was answered.
    let isAnswered = false;
    const late = (): void => {
      if (isAnswered) connection.destroy();
      else refuse('timeout', `no complete question within ${this.options.timeoutMs} ms`);
    };
    const timer = setTimeout(late, this.options.timeoutMs);
    const connection: ZmtpConnection = new ZmtpConnection(socket, 'ROUTER', QUESTION_LIMITS, {
      onReady: () => {},
      onMessage: (parts) => {
        const fault = this.#reply(connection, parts);
        if (fault !== undefined) return refuse(fault, 'the question is not one of a vLLM worker');
        isAnswered = true;
        timer.refresh();
      },
      onFault: (error) => this.#refuse(error.fault, error.message),
      onClose: () => {},
    });
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
  }

  /** Answers a question, or returns why not. */
  #reply(connection: ZmtpConnection, parts: readonly Buffer[]): SideChannelFault | undefined {
    const delimiter = parts.findIndex((part) => part.length === 0);
    const question = parts[delimiter + 1];
    if (delimiter === -1 || question === undefined || parts.length !== delimiter + 2) return 'question';
    const ranks = ranksFrom(question);
    if (ranks === undefined) return 'question';
    const [pipeline, tensor] = ranks;
    if (pipeline !== 0 || tensor >= this.options.ranks) return 'rank';
    const payload = encodeHandshake(this.answer(tensor));
    connection.send([...parts.slice(0, delimiter + 1), payload, pack(perfCounter())]);
    this.#answered += 1;
    return undefined;
  }

  /** Stops listening and closes every connection. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    });
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The ranks of a question; undefined if it is another one. */
function ranksFrom(question: Buffer): [pipeline: number, tensor: number] | undefined {
  try {
    const [what, pipeline, tensor, ...others] = unpack(question) as unknown[];
    if (!(what instanceof Uint8Array) || !QUESTION.equals(what) || others.length > 0) return undefined;
    checkInteger('pipeline rank', pipeline, 0);
    checkInteger('tensor rank', tensor, 0);
    return [pipeline, tensor];
  } catch {
    return undefined;
  }
}
