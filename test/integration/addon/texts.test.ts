import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';

import { native } from '../../../lib/addon/invoke.js';
import { shareTexts } from '../../../lib/addon/msgpack/decode.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const KIB = 1024;
const ASCII = 'The quick brown fox jumps over the lazy dog. ';
const textOf = (length: number, seed = ''): string => (seed + ASCII.repeat(length / ASCII.length + 1)).slice(0, length);

/** An endpoint that returns its request, and how often a string over the memory of a message was made. */
async function echo(): Promise<{ call(value: unknown): Promise<unknown>; shared(): number }> {
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint('texts.worker.echo');
  const served = await endpoint.serve(async function* (request: unknown) {
    yield request;
  });
  onTestFinished(() => served.close());
  const client = await endpoint.client();
  await client.waitForInstances();
  let count = 0;
  shareTexts((bytes, start, end) => {
    const text = native.textOver?.(bytes, start, end);
    if (text !== undefined) count += 1;
    return text;
  });
  onTestFinished(() => shareTexts(native.textOver));
  return { call: (value) => client.unary(value), shared: () => count };
}

describe('a large text', () => {
  it.each([
    ['of 64 KiB is a string over its message, at both ends', textOf(64 * KIB), 2],
    ['of 1 MiB too', textOf(KIB * KIB), 2],
    ['below 64 KiB is not', textOf(64 * KIB - 1), 0],
    ['beyond ASCII is not', `${textOf(100 * KIB)}é`, 0],
    ['with a surrogate pair in the middle is not', `${textOf(80 * KIB)}😀${textOf(80 * KIB)}`, 0],
  ])('%s', async (_, text, shared) => {
    const { call, shared: count } = await echo();
    expect((await call(text)) === text).toBe(true);
    expect(count()).toBe(shared);
  });

  it('does not keep a message of which it is less than half', async () => {
    const { call, shared } = await echo();
    const value = { text: textOf(70 * KIB), rest: new Uint8Array(100 * KIB).fill(7) };
    const got = (await call(value)) as typeof value;
    expect(got.text === value.text).toBe(true);
    expect(Buffer.compare(got.rest, value.rest)).toBe(0);
    expect(shared()).toBe(0);
  });

  it('keeps its characters after the message was collected', async () => {
    const { call, shared } = await echo();
    const texts = [];
    for (let index = 0; index < 20; index++) {
      texts.push((await call(textOf(256 * KIB, `${index} `))) as string);
      await nextTurn();
      collectGarbage();
    }
    expect(shared()).toBe(40);
    // Memory that was freed would be used for these.
    for (let index = 0; index < 20; index++) await call(new Uint8Array(256 * KIB).fill(index));
    collectGarbage();
    for (const [index, text] of texts.entries()) expect(text === textOf(256 * KIB, `${index} `)).toBe(true);
  });

  it('can be a key, be cut, joined and sent on', async () => {
    const { call } = await echo();
    const text = (await call(textOf(64 * KIB))) as string;
    expect({ [text]: 1 }[textOf(64 * KIB)]).toBe(1);
    expect(text.slice(1000, 70_000) + text.slice(0, 1000)).toBe(
      textOf(64 * KIB).slice(1000) + textOf(64 * KIB).slice(0, 1000),
    );
    expect(JSON.parse(JSON.stringify({ text }))).toEqual({ text: textOf(64 * KIB) });
    expect(structuredClone(text) === textOf(64 * KIB)).toBe(true);
    expect((await call(text)) === text).toBe(true);
  });

  it('returns its memory', async () => {
    const { call } = await echo();
    const text = textOf(1024 * KIB);
    const round = async (): Promise<number> => {
      for (let index = 0; index < 100; index++) await call(text);
      collectGarbage();
      await nextTurn();
      collectGarbage();
      return process.memoryUsage.rss() / KIB / KIB;
    };
    await round();
    const before = await round();
    for (let index = 0; index < 3; index++) await round();
    expect(await round()).toBeLessThan(before + 100);
  });

  it('of a thread that ends is freed with it', async () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      import('dynamo-node').then(async ({ DistributedRuntime }) => {
        const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
        const endpoint = runtime.endpoint('texts.thread.echo');
        await endpoint.serve(async function* (request) { yield request; });
        const client = await endpoint.client();
        await client.waitForInstances();
        const text = 'x'.repeat(8 << 20);
        globalThis.kept = [];
        for (let index = 0; index < 16; index++) globalThis.kept.push(await client.unary(text));
        parentPort.postMessage(globalThis.kept[15].length);
      });
    `;
    const residentMiB: number[] = [];
    for (let round = 0; round < 6; round++) {
      const worker = new Worker(program, { eval: true });
      const length = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      expect(length).toBe(8 << 20);
      await worker.terminate();
      residentMiB.push(process.memoryUsage.rss() >> 20);
    }
    // Each thread keeps 128 MiB of texts. Those of five more would be 640 MiB.
    console.log(`resident MiB after each thread: ${residentMiB}`);
    expect((residentMiB.at(-1) as number) - (residentMiB[0] as number)).toBeLessThan(320);
  });
});

describe('textOver', () => {
  it('only accepts bytes of the core', () => {
    const bytes = new Uint8Array(200 * KIB).fill(0x61);
    expect(native.textOver?.(bytes, 0, bytes.byteLength)).toBeUndefined();
    expect(() => native.textOver?.(bytes, 0, bytes.byteLength + 1)).toThrow('text: expected bytes within the array');
    expect(() => native.textOver?.(bytes, 5, 4)).toThrow('text: expected bytes within the array');
    expect(() => native.textOver?.(new Float64Array(8) as never, 0, 8)).toThrow('bytes: expected a Uint8Array');
  });
});
