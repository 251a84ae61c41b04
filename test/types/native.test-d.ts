import { describe, expectTypeOf, it } from 'vitest';

import { arg, invoke, invokeSync, native } from '../../lib/addon/invoke.js';
import type { Arg, Bytes, Handle } from '../../lib/addon/native.js';

declare const blocks: Handle<'blocks'>;
declare const indexer: Handle<'indexer'>;
declare const sink: Handle<'sink'>;
declare const stream: Handle<'stream'>;
declare const bytes: Bytes;

const source = arg('registeredBatch', 1);
const target = arg('mutableBatch', 2);

describe('a native function', () => {
  it('takes its parts', () => {
    invoke(native.blocksCopy, 'copy', { handle: blocks, other: blocks, a: source, b: target });
    invoke(native.blocksCopy, 'copy', { handle: blocks, other: blocks, a: source, b: target, args: bytes });
    invoke(native.blocksCopy, 'copy', { handle: blocks, other: blocks, a: source, b: target }, { background: true });
    invokeSync(native.versions, 'versions');
    invokeSync(native.registryCreate, 'create');
    native.sinkWrite(sink, undefined, bytes, arg('isAnnotated', 0), arg('isLast', 0), undefined);
  });

  it('returns its result, with the noun of a handle', () => {
    expectTypeOf(invokeSync(native.clientOpen, 'open', {} as never)).toEqualTypeOf<Handle<'stream'>>();
    expectTypeOf(invoke(native.blocksCopy, 'copy', {} as never)).toEqualTypeOf<Promise<undefined>>();
    expectTypeOf(invokeSync(native.blocksAttach, 'attach', { a: arg('manager', 1) })).toEqualTypeOf<
      [Bytes, Handle<'blocks'>, Handle<'registry'>]
    >();
  });

  it('does not take swapped numbers', () => {
    // @ts-expect-error the registered batch is `a`
    invoke(native.blocksCopy, 'copy', { handle: blocks, other: blocks, a: target, b: source });
    // @ts-expect-error `isAnnotated` is `a`
    native.sinkWrite(sink, undefined, bytes, arg('isLast', 0), arg('isAnnotated', 0), undefined);
  });

  it('does not take a number without a name', () => {
    // @ts-expect-error `a` is a number without a name
    invokeSync(native.blocksUnstage, 'unstage', { handle: blocks, a: 1 });
    expectTypeOf(1).not.toExtend<Arg<'stagedBatch'>>();
    expectTypeOf<Arg<'stagedBatch'>>().toExtend<number>();
  });

  it('does not take a handle of another noun', () => {
    // @ts-expect-error an indexer is not a block manager
    invokeSync(native.blocksId, 'id', { handle: indexer });
    // @ts-expect-error the other block manager is an indexer
    invoke(native.blocksCopy, 'copy', { handle: blocks, other: indexer, a: source, b: target });
    // @ts-expect-error a handle of any noun is not one of a block manager
    invokeSync(native.blocksId, 'id', { handle: blocks as Handle });
    // @ts-expect-error a stream is not a sink
    native.sinkWrite(stream, undefined, bytes, arg('isAnnotated', 0), arg('isLast', 0), undefined);
    expectTypeOf<Handle<'blocks'>>().toExtend<Handle>();
  });

  it('does not take fewer parts', () => {
    // @ts-expect-error `b` is missing
    invoke(native.blocksCopy, 'copy', { handle: blocks, other: blocks, a: source });
    // @ts-expect-error the handle is missing
    invokeSync(native.blocksId, 'id', {});
    // @ts-expect-error the parts are missing
    invokeSync(native.blocksId, 'id');
    // @ts-expect-error the parts are missing
    invoke(native.blocksCopy, 'copy');
    // @ts-expect-error a required part may be undefined
    invokeSync(native.blocksId, 'id', { handle: undefined as Handle<'blocks'> | undefined });
  });

  it('does not take more parts', () => {
    // @ts-expect-error `payload` is one too many
    invokeSync(native.blocksId, 'id', { handle: blocks, payload: bytes });
    const parts = { handle: blocks, a: source };
    // @ts-expect-error `a` is one too many, also in a variable
    invokeSync(native.blocksId, 'id', parts);
    // @ts-expect-error `a` is one too many, also in a spread
    invokeSync(native.blocksId, 'id', { ...parts });
    // @ts-expect-error `versions` takes no parts
    invokeSync(native.versions, 'versions', { handle: blocks });
  });

  it('does not take words of another size', () => {
    invokeSync(native.hashBlocks, 'hash', { payload: new Uint32Array(), a: arg('blockSize', 4) });
    // @ts-expect-error tokens are 32-bit words
    invokeSync(native.hashBlocks, 'hash', { payload: new BigUint64Array(), a: arg('blockSize', 4) });
    // @ts-expect-error NIXL takes bytes
    invoke(native.nixlAgentConnect, 'connect', { handle: {} as Handle<'nixlAgent'>, payload: new Uint32Array() });
  });

  it('is called by the function for its kind', () => {
    // @ts-expect-error `blocksId` is synchronous
    invoke(native.blocksId, 'id', { handle: blocks });
    // @ts-expect-error `blocksCopy` is asynchronous
    invokeSync(native.blocksCopy, 'copy', { handle: blocks, other: blocks, a: source, b: target });
  });
});
