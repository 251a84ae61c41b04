import { describe, expect, it } from 'vitest';

import { preprocessed } from '../../../lib/llm/engine-host.js';
import { packedRequest } from '../../helpers/llm/preprocessed.js';

describe('the token ids of a request', () => {
  it.each([[[]], [[7]], [[0, 1, 2 ** 31, 2 ** 32 - 1]], [Array.from({ length: 32_000 }, (_, index) => index * 7)]])(
    'are words, wherever the request begins',
    (ids) => {
      const packed = packedRequest(ids, { model: 'm' });
      for (const offset of [0, 1, 2, 3, 4]) {
        const batch = new Uint8Array(packed.byteLength + 8).fill(255);
        batch.set(packed, offset);
        const request = preprocessed(batch.subarray(offset, offset + packed.byteLength));
        expect(request.token_ids).toBeInstanceOf(Uint32Array);
        expect(Array.from(request.token_ids)).toEqual(ids);
        expect(request.model).toBe('m');
      }
    },
  );

  it('do not share memory with the message', () => {
    const packed = packedRequest([1, 2, 3]);
    const request = preprocessed(packed);
    packed.fill(0);
    expect([...request.token_ids]).toEqual([1, 2, 3]);
  });
});
