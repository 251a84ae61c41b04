import { TokenSequence } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { pythonPeer } from '../../helpers/child.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { randomNumbers } from '../../helpers/random.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

describe('TokenSequence', () => {
  it('returns the hashes of the Python wheel for random tokens, adapters and salts', async () => {
    const python = pythonPeer('hashes.py', [], temporaryFolder());
    onTestFinished(() => python.stop());
    await python.event('ready');
    const random = randomNumbers(20);
    const below = (limit: number): number => Math.floor(random() * limit);
    let compared = 0;
    for (let round = 0; round < 200; round++) {
      const blockSize = [1, 4, 16, 32, 64, 100][round % 6] as number;
      const tokens = Array.from({ length: below(20 * blockSize) }, () =>
        below(8) === 0 ? 2 ** 32 - 1 - below(5) : below(200_000),
      );
      const loraName = [undefined, '', 'adapter', 'ünïcode'][below(4)];
      const salt = [undefined, '', 'tenant', 'adapter'][below(4)];
      python.send({ tokens, block_size: blockSize, lora_name: loraName, salt });
      const { hashes } = await python.event('hashes');
      using sequence = new TokenSequence(tokens, {
        blockSize,
        ...(loraName === undefined ? {} : { loraName }),
        ...(salt === undefined ? {} : { salt }),
      });
      expect([...sequence.blockHashes()]).toEqual((hashes as string[]).map(BigInt));
      compared += sequence.blockCount;
    }
    expect(compared).toBeGreaterThan(1000);
  });
});
