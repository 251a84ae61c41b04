import { describe, expect, it } from 'vitest';

import { type Answer, answersTo, type RawRequest } from '../../helpers/runtime/raw-caller.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';

/** An endpoint that echoes, the requests that it got, and what a raw caller gets for a request. */
async function echo() {
  const runtime = await testRuntime();
  const handled: unknown[] = [];
  const { instance } = await runtime.endpoint('refused.worker.echo').serve((request) => {
    handled.push(request);
    return request;
  });
  const call = (request: unknown, options: RawRequest): Promise<Answer[]> =>
    answersTo(instance.address, request, options);
  return { handled, call };
}

const nested = (levels: number): unknown => (levels === 0 ? null : [nested(levels - 1)]);

const entries = (count: number, value: string): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`key-${index}`, value]));

describe('a request of another sender', () => {
  it('in JSON is answered up to 127 levels, and refused with InvalidRequest beyond', async () => {
    const { handled, call } = await echo();
    const [item] = await call(nested(127), { codec: 'json' });
    expect(item?.data?.data).toEqual(nested(127));
    for (const levels of [128, 200]) {
      const [refused, ...rest] = await call(nested(levels), { codec: 'json' });
      expect(refused?.data?.error).toMatchObject({ class: 'InvalidRequest' });
      expect(rest).toHaveLength(1);
    }
    expect(handled).toHaveLength(1);
  });

  it.each([
    ...[0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xc7, 0xc8, 0xc9].map((byte): [string, Uint8Array] => [
      `the MessagePack extension 0x${byte.toString(16)}`,
      Uint8Array.of(0x81, 0xa1, 0x61, byte, ...new Array(20).fill(0)),
    ]),
    ['600 levels', Uint8Array.from([...new Array(600).fill(0x91), 1])],
    [
      'more empty lists than a message may have',
      Buffer.concat([Buffer.of(0xdd, 0, 32, 0, 0), Buffer.alloc(1 << 21, 0x90)]),
    ],
    ['a count without items', Uint8Array.of(0xdd, 255, 255, 255, 255)],
    ['bytes after its value', Uint8Array.of(1, 2)],
    ['a key that is a list', Uint8Array.of(0x81, 0x90, 1)],
  ])(
    'is refused with InvalidRequest for %s, does not reach the handler, and the next one is answered',
    async (_, packed) => {
      const { handled, call } = await echo();
      const [refused, ...rest] = await call(undefined, { packed });
      expect(refused?.data?.error).toMatchObject({ class: 'InvalidRequest' });
      expect(rest).toHaveLength(1);
      const [item] = await call('next', {});
      expect(item?.data?.data).toBe('next');
      expect(handled).toEqual(['next']);
    },
  );

  it.each([
    ['1024 entries', entries(1024, ''), entries(1025, '')],
    ['128 KiB', { key: 'x'.repeat(128 * 1024 - 3) }, { key: 'x'.repeat(128 * 1024 - 2) }],
  ])('gets its answer with up to %s of metadata, and InvalidRequest beyond', async (_, within, beyond) => {
    const { handled, call } = await echo();
    const [item] = await call('whole', { metadata: within });
    expect(item?.data?.data).toBe('whole');
    const [refused, ...rest] = await call('refused', { metadata: beyond });
    expect(refused?.data?.error).toMatchObject({ class: 'InvalidRequest' });
    expect(rest).toHaveLength(1);
    expect(handled).toEqual(['whole']);
  });
});
