import { isDeepStrictEqual } from 'node:util';

import { BlockRegistry, computeBlockHashes, computeSequenceHashes, LineageHashes, TokenSequence } from 'dynamo-node';

import { attempt, must } from '../expectations.js';
import type { FuzzTarget } from '../harness.js';
import { FuzzInput } from '../input.js';

const SIZES = [1, 2, 3, 4, 7, 16, 17, 64, 1024, 65_536];

function tokensOf(input: FuzzInput): Uint32Array {
  const width = input.pick([2, 256, 2 ** 32]);
  return Uint32Array.from({ length: input.below(200) }, () => (input.isSpent ? 1 : input.below(width)));
}

/** A sequence that was made at once equals one that grew, and its hashes are the router's. */
function growsAlike(input: FuzzInput): void {
  const tokens = tokensOf(input);
  const options = { blockSize: input.pick(SIZES), ...input.pick([{}, { salt: input.text(5) }, { loraName: 'a' }]) };
  using whole = new TokenSequence(tokens, options);
  using grown = new TokenSequence([], options);
  for (let at = 0; at < tokens.length; ) {
    const count = input.below(40);
    if (count === 0) grown.append(tokens[at++]!);
    else {
      grown.extend(tokens.subarray(at, at + count));
      at = Math.min(tokens.length, at + count);
    }
    if (input.below(16) === 0) {
      at -= input.below(at + 1);
      grown.truncate(at);
    }
  }
  using cloned = grown.clone();
  for (const other of [grown, cloned]) {
    must('the tokens are alike', isDeepStrictEqual(other.tokens(), whole.tokens()));
    must('the names are alike', isDeepStrictEqual([...other.lineageHashes()], [...whole.lineageHashes()]));
    must('the sequence hashes are alike', isDeepStrictEqual(other.sequenceHashes(), whole.sequenceHashes()));
  }
  must('the tokens are those that were passed', isDeepStrictEqual(whole.tokens(), tokens));
  must('the count is that of full blocks', whole.blockCount === Math.floor(tokens.length / options.blockSize));
  if (Object.keys(options).length > 1) return;
  const hashes = computeBlockHashes(tokens, options.blockSize);
  must("the block hashes are the router's", isDeepStrictEqual(hashes, whole.blockHashes()));
  must(
    "the sequence hashes are the router's",
    isDeepStrictEqual(computeSequenceHashes(hashes), whole.sequenceHashes()),
  );
}

/** Arguments of any kind are accepted or rejected. */
function rejectsWrong(input: FuzzInput): void {
  using sequence = new TokenSequence(tokensOf(input), { blockSize: input.pick(SIZES) });
  const calls = [
    () => sequence.append(input.number()),
    () => sequence.extend([input.number(), input.number()]),
    () => sequence.truncate(input.number()),
    () => sequence.tokens(input.number(), input.number()),
    () => sequence.blockHashes(input.number(), input.number()),
    () => sequence.lineageHashes(input.number()),
    () => sequence.lineageHashes().at(input.number()),
    () => sequence.lineageHashes().slice(input.number(), input.number()),
    () => computeBlockHashes(sequence.tokens(), input.number()),
    () =>
      sequence.extend([1], { multimodal: [{ hash: input.u64(), offset: input.below(3), length: input.below(40) }] }),
  ];
  for (let count = input.below(12); count > 0; count--) attempt(input.pick(calls));
  must('the length is that of the tokens', sequence.tokens().length === sequence.length);
}

/** Names from outside are read back, and a registry accepts or rejects them. */
function namesAlike(registry: BlockRegistry, input: FuzzInput): void {
  const names = attempt(() => new LineageHashes(input.take(80)))?.value;
  if (names === undefined) return;
  must('names are read back', isDeepStrictEqual(LineageHashes.from(names).bytes, new Uint8Array(names.bytes)));
  const found = attempt(() => registry.presence(names))?.value;
  must('each name has one answer', found === undefined || found.length === names.length);
  attempt(() => registry.touch(names));
}

/** Hashes do not depend on how a sequence was made, and foreign names are accepted or rejected. */
export const hashesTarget: FuzzTarget = {
  name: 'hashes',
  open: () => {
    const registry = new BlockRegistry({ frequency: 'small' });
    const parts = [growsAlike, rejectsWrong, (input: FuzzInput) => namesAlike(registry, input)];
    return (bytes) => {
      const input = new FuzzInput(bytes);
      input.pick(parts)(input);
    };
  },
};
