import { describe, expect, it } from 'vitest';

import { pack } from '../../../lib/addon/codec.js';
import { invoke, invokeSync, native } from '../../../lib/addon/invoke.js';
import type { Async, Handle, Sync } from '../../../lib/addon/native.js';
import { openLog } from '../../../lib/runtime/log.js';

/** Those that need no object of their own; everything else must refuse to be called without one. */
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
  'kvbmBench',
  'hashBlocks',
  'hashSequences',
  'radixTreeCreate',
  'indexerCreate',
  'selectionCreate',
  'routerDefaults',
  'replayRun',
  'nixlLibraryLoad',
  'nixlProcessRead',
  'nixlProcessReceived',
  'nixlRegionFind',
]);
const names = Object.keys(native).filter((name) => !FREE.has(name)) as (keyof typeof native)[];

/** What a function says that gets one: its core knows the kind of every handle of its own, and no other. */
const REFUSAL = /expected (\w+, got PullStream|a handle of NIXL's|an ArrayBuffer)/;

/** A handle of the wrong kind for all of them. */
const stranger = invokeSync(native.logOpen, 'test', { payload: new TextEncoder().encode('off') });

async function outcome(name: string, parts: Parameters<typeof invoke>[2]): Promise<Error> {
  const fn = native[name as keyof typeof native] as unknown;
  try {
    const started = invokeSync(fn as Sync<unknown>, name, parts);
    if (typeof started !== 'number') throw new Error(`${name} gave ${String(started)}`);
  } catch (error) {
    return error as Error;
  }
  return invoke(fn as Async<unknown>, name, parts).then(
    () => new Error(`${name} succeeded`),
    (error: Error) => error,
  );
}

describe('every native function', () => {
  it('is in the table', () => expect(names.length).toBeGreaterThan(30));

  it.each(names)('%s refuses to be called without its object', async (name) => {
    expect(await outcome(name, {})).toBeInstanceOf(TypeError);
  });

  it.each(names.filter((name) => name !== 'streamPull' && name !== 'streamCancel'))(
    '%s refuses an object of another kind',
    async (name) => {
      const error = await outcome(name, { handle: stranger, other: stranger });
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(REFUSAL);
    },
  );

  it.each(names)('%s refuses a handle that is none', async (name) => {
    for (const wrong of [{}, 1, 'x', () => {}, Symbol('x')]) {
      expect(() => (native[name] as Sync<unknown>)(wrong as unknown as Handle)).toThrow(TypeError);
    }
  });

  it.each(names)('%s refuses bytes and numbers that are none', (name) => {
    const fn = native[name] as (...values: unknown[]) => unknown;
    expect(() => fn(stranger, 'text')).toThrow(TypeError);
    expect(() => fn(stranger, new Float64Array(1))).toThrow(TypeError);
    expect(() => fn(stranger, null, null, -1)).toThrow(TypeError);
    expect(() => fn(stranger, null, null, Number.NaN)).toThrow(TypeError);
    expect(() => fn(stranger, null, null, 2 ** 60)).toThrow(TypeError);
    expect(() => fn(stranger, null, null, 'x')).toThrow(TypeError);
  });

  it('refuses arguments that are not MessagePack, or lack a field, by name', async () => {
    await expect(invoke(native.runtimeCreate, 'create', { args: Buffer.from([0xc1]) })).rejects.toBeInstanceOf(
      TypeError,
    );
    const args = pack({ discovery: { kind: 'nowhere' } });
    await expect(invoke(native.runtimeCreate, 'create', { args })).rejects.toThrow(/nowhere|variant/);
  });

  it('cancels an operation that does not exist without a word', () => {
    native.cancel(2 ** 50);
  });
});

describe('the log', () => {
  it('refuses a filter that is none', () => {
    expect(() => openLog({ filter: '=][' })).toThrow(TypeError);
    expect(() => openLog({ filter: 1 as never })).toThrow(/openLog options.filter: expected a string, got 1/);
  });
});
