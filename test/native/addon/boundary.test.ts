import { describe, expect, it } from 'vitest';

import { pack } from '../../../lib/addon/codec.js';
import { invoke, invokeSync, native } from '../../../lib/addon/invoke.js';
import type { Async, CallParts, Sync } from '../../../lib/addon/native.js';
import { startLog } from '../../../lib/runtime/log.js';

/** Functions that need no object. All others must reject a call without one. */
const FREE = new Set([
  'open',
  'cancel',
  'versions',
  'logOpen',
  'runtimeCreate',
  'conformanceInbox',
  'modelFetch',
  'modelParsers',
  'sequenceCreate',
  'registryCreate',
  'blocksAttach',
  'bufferDetach',
  'textOver',
  'kvbmBench',
  'hashBlocks',
  'hashSequences',
  'radixTreeCreate',
  'indexerCreate',
  'selectionCreate',
  'routerDefaults',
  'replayInbox',
  'replayRun',
  'nixlLibraryLoad',
  'nixlProcessRead',
  'nixlProcessReceived',
  'nixlRegionFind',
]);
const names = Object.keys(native).filter((name) => !FREE.has(name)) as (keyof typeof native)[];

/** The error of a function that gets a wrong handle. Each core knows only the kinds of its own handles. */
const REFUSAL = /expected (\w+, got PullStream|a handle of NIXL|an ArrayBuffer)/;

/** A handle of a kind that none of them accepts. */
const stranger = invokeSync(native.logOpen, 'test', { payload: new TextEncoder().encode('off') });

/** Any native function, called with any values. */
const call = (name: string, ...values: unknown[]) =>
  (native[name as keyof typeof native] as (...values: unknown[]) => unknown)(...values);

async function errorOf(name: string, parts: CallParts): Promise<Error> {
  const fn: unknown = native[name as keyof typeof native];
  try {
    const started = invokeSync(fn as Sync<unknown, CallParts>, name, parts);
    if (typeof started !== 'number') throw new Error(`${name} returned ${String(started)}`);
  } catch (error) {
    return error as Error;
  }
  return invoke(fn as Async<unknown, CallParts>, name, parts).then(
    () => new Error(`${name} succeeded`),
    (error: Error) => error,
  );
}

describe('every native function', () => {
  it('is in the table', () => expect(names.length).toBeGreaterThan(30));

  it.each(names)('%s rejects a call without its object with TypeError', async (name) => {
    expect(await errorOf(name, {})).toBeInstanceOf(TypeError);
  });

  it.each(names.filter((name) => name !== 'streamPull' && name !== 'streamCancel'))(
    '%s rejects an object of another kind with TypeError',
    async (name) => {
      const error = await errorOf(name, { handle: stranger, other: stranger });
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(REFUSAL);
    },
  );

  it.each(names)('%s rejects a value that is not a handle with TypeError', async (name) => {
    for (const wrong of [{}, 1, 'x', () => {}, Symbol('x')]) expect(() => call(name, wrong)).toThrow(TypeError);
  });

  it.each(names)('%s rejects wrong bytes and numbers with TypeError', (name) => {
    expect(() => call(name, stranger, 'text')).toThrow(TypeError);
    expect(() => call(name, stranger, new Float64Array(1))).toThrow(TypeError);
    expect(() => call(name, stranger, null, null, -1)).toThrow(TypeError);
    expect(() => call(name, stranger, null, null, Number.NaN)).toThrow(TypeError);
    expect(() => call(name, stranger, null, null, 2 ** 60)).toThrow(TypeError);
    expect(() => call(name, stranger, null, null, 'x')).toThrow(TypeError);
  });

  it('rejects arguments that are not MessagePack or have an unknown value, and names the value', async () => {
    await expect(invoke(native.runtimeCreate, 'create', { args: Buffer.from([0xc1]) })).rejects.toBeInstanceOf(
      TypeError,
    );
    const args = pack({ discovery: { kind: 'nowhere' } });
    await expect(invoke(native.runtimeCreate, 'create', { args })).rejects.toThrow(/nowhere|variant/);
  });

  it('ignores the cancellation of an operation that does not exist', () => {
    native.cancel(2 ** 50);
  });
});

describe('the log', () => {
  it('rejects a wrong filter', () => {
    expect(() => startLog({ filter: '=][' })).toThrow(TypeError);
    expect(() => startLog({ filter: 1 as never })).toThrow(/startLog options.filter: expected a string, got 1/);
  });
});
