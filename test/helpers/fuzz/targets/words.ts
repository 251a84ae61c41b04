import { RadixTree, type RouterEvent } from 'dynamo-node';

import { textBytes, textFrom } from '../../../../lib/addon/codec.js';
import { decodeEvents, encodeEvents } from '../../../../lib/router/events.js';
import { asBytes, floats, hashWords, tokenWords, word32s, words } from '../../../../lib/words.js';
import { attempt, must } from '../expectations.js';
import type { FuzzTarget } from '../harness.js';
import { FuzzInput } from '../input.js';

const MAX_U32 = 2 ** 32 - 1;

/** Reads the words of a view at any offset one by one. */
function readsAlike(input: FuzzInput): void {
  const bytes = input.take(200);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [long, short, float] = [words(bytes), word32s(bytes), floats(bytes)];
  must('words are whole', long.length === bytes.length >> 3 && short.length === bytes.length >> 2);
  must(
    '64-bit words are those of the bytes',
    long.every((word, at) => word === view.getBigUint64(at * 8, true)),
  );
  must(
    '32-bit words are those of the bytes',
    short.every((word, at) => word === view.getUint32(at * 4, true)),
  );
  must(
    'floats are those of the bytes',
    float.every((word, at) => Object.is(word, view.getFloat64(at * 8, true))),
  );
}

function tokensAlike(input: FuzzInput): void {
  const wrong: readonly unknown[] = ['1', null, undefined, 1n, {}, true, [1]];
  const ids = Array.from({ length: input.below(20) }, () =>
    input.below(16) === 0 ? input.pick(wrong) : input.number(),
  );
  const found = attempt(() => tokenWords('tokens', ids as number[]));
  const isRight = ids.every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_U32);
  must('exactly the token ids are accepted', (found !== undefined) === isRight);
  if (found !== undefined)
    must(
      'token ids stay',
      ids.every((id, at) => found.value[at] === id),
    );
}

function hashesAlike(input: FuzzInput): void {
  const hashes = Array.from({ length: input.below(20) }, () =>
    input.below(16) === 0 ? input.pick<unknown>([1, -1n, 2n ** 64n, '1', null]) : input.u64(),
  );
  const found = attempt(() => hashWords('hashes', hashes as bigint[]));
  must(
    'exactly bigints of 64 bits are accepted',
    (found !== undefined) === hashes.every((hash) => typeof hash === 'bigint' && BigInt.asUintN(64, hash) === hash),
  );
  if (found !== undefined)
    must(
      'hashes stay',
      hashes.every((hash, at) => found.value[at] === hash),
    );
}

function textsAlike(input: FuzzInput): void {
  const text = input.text(60);
  must(
    'a text is read back, with U+FFFD for half surrogates',
    textFrom(textBytes(text)) === Buffer.from(text).toString(),
  );
}

/** A router's events as words and back, and through a tree of the native side. */
function eventsAlike(input: FuzzInput): void {
  const list = (length: number): bigint[] =>
    Array.from({ length }, () => (input.below(4) === 0 ? input.u64() : BigInt(input.below(8))));
  const events = Array.from({ length: input.below(12) }, () => {
    const count = input.below(6);
    return {
      kind: input.pick(['stored', 'stored', 'removed', 'cleared', 'other']),
      workerId: BigInt(input.below(3)),
      dpRank: input.pick([0, 1, MAX_U32, input.number()]),
      tier: input.pick(['device', 'disk', 'tape']),
      eventId: input.pick([1, 2n ** 64n - 1n, input.number()]),
      parentHash: input.pick([null, 1n, input.u64(), -1n, 7]),
      startPosition: input.pick([null, 0, input.number()]),
      blockHashes: list(count),
      tokensHashes: list(input.below(16) === 0 ? count + 1 : count),
    } as RouterEvent;
  });
  using tree = new RadixTree();
  for (const event of events) {
    const written = attempt(() => encodeEvents('events', [event], false))?.value;
    must(
      'a tree accepts what the words can hold',
      (attempt(() => tree.apply([event])) === undefined) === (written === undefined),
    );
    if (written === undefined) continue;
    const [read] = decodeEvents(asBytes(written)) as unknown as [Record<string, unknown>];
    const wanted = { ...event, eventId: BigInt(event.eventId ?? 0) } as Record<string, unknown>;
    for (const [name, value] of Object.entries(read)) must(`${name} is read back`, sameWords(value, wanted[name]));
  }
  must('a tree is dumped', Array.isArray(tree.dump()));
}

function sameWords(left: unknown, right: unknown): boolean {
  if (!(left instanceof BigUint64Array) || !Array.isArray(right)) return left === right;
  return left.length === right.length && right.every((word, at) => word === left[at]);
}

const PARTS = [readsAlike, tokensAlike, hashesAlike, textsAlike, eventsAlike];

/** Numbers and texts for the native side are those of the caller, or are rejected. */
export const wordsTarget: FuzzTarget = {
  name: 'words',
  open: () => (bytes) => {
    const input = new FuzzInput(bytes);
    input.pick(PARTS)(input);
  },
};
