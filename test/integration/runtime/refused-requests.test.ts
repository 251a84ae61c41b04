import { describe, expect, it, onTestFinished } from 'vitest';

import { unpack } from '../../../lib/addon/codec.js';
import { type Frame, RawCaller, type RawRequest } from '../../helpers/runtime/raw-caller.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

interface Answer {
  readonly data?: { readonly data?: unknown; readonly error?: unknown };
  readonly complete_final: boolean;
}

/** An endpoint that echoes, the requests that it got, and what a raw caller gets for a request. */
async function echo() {
  const runtime = await testRuntime();
  const handled: unknown[] = [];
  const { instance } = await runtime.endpoint('refused.worker.echo').serve((request) => {
    handled.push(request);
    return request;
  });
  const call = async (request: unknown, options: RawRequest): Promise<Answer[]> => {
    const frames: Frame[] = [];
    const caller = await RawCaller.listen((frame) => frames.push(frame));
    onTestFinished(() => caller.close());
    await caller.send(instance.address, request, options);
    const decode = ({ data }: Frame): Answer =>
      (options.codec === 'json' ? JSON.parse(data.toString()) : unpack(data)) as Answer;
    return waitFor(
      'the last frame of the answer',
      () => frames.filter(({ header, data }) => header === '' && data.length > 0).map(decode),
      (answers) => answers.at(-1)?.complete_final === true,
    );
  };
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
