import type { PreprocessedRequest } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { pack } from '../../../lib/addon/codec.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { spell } from '../../helpers/llm/fixed-answer-engine.js';
import { answersTo, RawCaller, type RawRequest } from '../../helpers/runtime/raw-caller.js';

const deployment = deployments();

/** An engine with one answer, the requests that it got, and the address of its worker. */
async function start() {
  const here = deployment();
  const requests: PreprocessedRequest[] = [];
  const { runtime } = await here.serve({
    start: () => ({ model: 'odd', llm: { contextLength: 4096 } }),
    async *generate(request: PreprocessedRequest) {
      requests.push(request);
      yield { token_ids: spell('y'), finish_reason: 'stop' };
    },
  });
  const client = await runtime.endpoint('test.backend.generate').client();
  const [instance] = await client.waitForInstances();
  return { requests, address: (instance as NonNullable<typeof instance>).address };
}

const good = { token_ids: [1, 2], eos_token_ids: [2] };
/** A good request with a further field of that many levels. */
const nested = (levels: number): Buffer => {
  const fields = [pack('token_ids'), pack([1]), pack('extra_args'), Buffer.alloc(levels, 0x91), Buffer.of(0xc0)];
  return Buffer.concat([Buffer.of(0x82), ...fields]);
};

describe('a request of another sender to an engine', () => {
  it.each<[string, object, RawRequest]>([
    ['is nested too deep', {}, { packed: nested(600) }],
    ['has too many values', { ...good, extra_args: Array.from({ length: 600_000 }, () => 'x') }, {}],
    [
      'has too much metadata',
      good,
      { metadata: Object.fromEntries(Array.from({ length: 1025 }, (_, index) => [`key-${index}`, ''])) },
    ],
  ])('is refused with InvalidRequest if it %s', async (_, request, options) => {
    const { requests, address } = await start();
    const [refused, ...rest] = await answersTo(address, request, options);
    expect(refused?.data?.error).toMatchObject({ class: 'InvalidRequest' });
    expect(rest).toHaveLength(1);
    expect(requests).toEqual([]);
    await answersTo(address, good);
    expect(requests).toHaveLength(1);
  });

  it.each<[string, unknown, RawRequest]>([
    ['JSON without tokens', { model: 'odd' }, { codec: 'json' }],
    ['MessagePack of another shape', [1, 2], {}],
    ['tokens that are no numbers', { ...good, token_ids: ['a'] }, {}],
    ['a token beyond 32 bits', { ...good, token_ids: [2 ** 32] }, {}],
  ])('is acknowledged and dropped by the crates if it is %s', async (_, request, options) => {
    const { requests, address } = await start();
    const frames: unknown[] = [];
    const caller = await RawCaller.listen((frame) => frames.push(frame));
    onTestFinished(() => caller.close());
    await caller.send(address, request, options);
    const [answer] = await answersTo(address, good);
    expect(answer?.data?.data).toMatchObject({ finish_reason: 'stop' });
    expect(requests).toHaveLength(1);
    expect(frames).toEqual([]);
  });
});
