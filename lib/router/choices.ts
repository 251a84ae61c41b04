import { unpack } from '../addon/codec.js';
import { invokeSync } from '../addon/invoke.js';
import type { Bytes, Handle, Sync } from '../addon/native.js';
import { NativeStream } from '../addon/stream.js';
import { DynamoError, errorFrom, type Failure } from '../errors.js';

/** What a choice does besides choosing. The core has the same numbers. */
export const CHOICE = { select: 0, reserve: 1 } as const;

/** A request that needs a worker. Its bytes are copied. */
export interface Choice<Noun extends string> {
  readonly operation: string;
  readonly kind: number;
  readonly handle: Handle<Noun>;
  readonly args: Bytes;
  /** Tokens, as 32-bit words. */
  readonly payload: Bytes;
}

interface Waiting {
  readonly operation: string;
  readonly resolve: (response: Bytes) => void;
  readonly reject: (error: unknown) => void;
}

type ChooseOne<Noun extends string> = (choice: Choice<Noun>) => Promise<Bytes>;
type ChooseMany<Noun extends string> = Sync<Handle<'stream'>, { handle: Handle<Noun>; payload: Bytes }>;

/** The most choices of one crossing: one thread of the core makes them. */
const MAX_CHOICES = 64;
/** A larger buffer is not kept. */
const KEPT_BYTES = 1 << 20;
const WORD_BYTES = 4;
const HEAD_BYTES = 3 * WORD_BYTES;
const ANSWER_HEAD_BYTES = 2 * WORD_BYTES;

/**
 * Collects the choices of one turn of the event loop. Several cross to the native side together, because crossings cost
 * more than choices. Each settles as soon as it is made.
 */
export class TurnChoices<Noun extends string> {
  #waiting: Waiting[] = [];
  #handle: Handle<Noun> | undefined;
  #bytes = new Uint8Array(4096);
  #length = 0;

  constructor(
    private readonly one: ChooseOne<Noun>,
    private readonly many: ChooseMany<Noun>,
    /** Each choice crosses alone: with a policy of the host one may keep a thread of the core until its timeout. */
    private readonly isAlone: boolean,
  ) {}

  /** Returns the response in MessagePack. */
  choose(choice: Choice<Noun>): Promise<Bytes> {
    if (this.isAlone) return this.one(choice);
    return new Promise((resolve, reject) => {
      this.#append(choice);
      this.#handle = choice.handle;
      const waiting = this.#waiting.push({ operation: choice.operation, resolve, reject });
      // In a continuation of a promise, ticks run after those of the promises that are settled already.
      if (waiting === 1) process.nextTick(() => this.send());
      else if (waiting === MAX_CHOICES) this.send();
    });
  }

  /** The layout of `native/core/src/router/choices.rs`. */
  #append({ kind, args, payload }: Choice<Noun>): void {
    const start = this.#length;
    const end = start + HEAD_BYTES + args.byteLength + payload.byteLength;
    if (end > this.#bytes.byteLength) {
      const larger = new Uint8Array(2 * end);
      larger.set(this.#bytes.subarray(0, start));
      this.#bytes = larger;
    }
    const head = new DataView(this.#bytes.buffer, start);
    head.setUint32(0, kind, true);
    head.setUint32(WORD_BYTES, args.byteLength, true);
    head.setUint32(2 * WORD_BYTES, payload.byteLength, true);
    this.#bytes.set(args, start + HEAD_BYTES);
    this.#bytes.set(payload, start + HEAD_BYTES + args.byteLength);
    this.#length = end;
  }

  /** Sends the choices that wait for the end of the turn. A close that came after them waits for them. */
  send(): void {
    const [waiting, handle, bytes] = [this.#waiting, this.#handle, this.#bytes.subarray(0, this.#length)];
    if (handle === undefined) return;
    this.#waiting = [];
    this.#handle = undefined;
    this.#length = 0;
    if (this.#bytes.byteLength > KEPT_BYTES) this.#bytes = new Uint8Array(KEPT_BYTES);
    const [first] = waiting as [Waiting];
    if (waiting.length === 1) this.one(choiceAt(bytes, first.operation, handle)).then(first.resolve, first.reject);
    else void this.#sendMany(waiting, { handle, payload: bytes });
  }

  async #sendMany(waiting: readonly Waiting[], parts: { handle: Handle<Noun>; payload: Bytes }): Promise<void> {
    const [{ operation }] = waiting as [Waiting];
    try {
      const stream = new NativeStream(invokeSync(this.many, operation, parts), operation);
      for (let open = waiting.length; open > 0; ) {
        const items = await stream.pull();
        if (items.length === 0) throw new DynamoError('Internal', `${operation}: ${open} choices have no answer`);
        for (const { bytes } of items) settle(waiting, bytes);
        open -= items.length;
      }
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}

function choiceAt<Noun extends string>(bytes: Bytes, operation: string, handle: Handle<Noun>): Choice<Noun> {
  const head = new DataView(bytes.buffer, bytes.byteOffset);
  const end = HEAD_BYTES + head.getUint32(WORD_BYTES, true);
  const [args, payload] = [bytes.subarray(HEAD_BYTES, end), bytes.subarray(end)];
  return { operation, kind: head.getUint32(0, true), handle, args, payload };
}

function settle(waiting: readonly Waiting[], answer: Bytes): void {
  const head = new DataView(answer.buffer, answer.byteOffset);
  const { operation, resolve, reject } = waiting[head.getUint32(0, true)] as Waiting;
  const body = answer.subarray(ANSWER_HEAD_BYTES);
  if (head.getUint32(WORD_BYTES, true) === 0) resolve(body);
  else reject(errorFrom(unpack(body) as Failure, operation));
}
