import { join } from 'node:path';
import { Duplex, PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../examples/tiny-llama/config.js';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { RankCache, RankMemory } from '../../../examples/tiny-llama/rank-cache.js';
import { RankLink, RankMessage } from '../../../examples/tiny-llama/rank-link.js';
import { loadSafetensors } from '../../../examples/tiny-llama/safetensors.js';
import { shardConfig, shardTensors } from '../../../examples/tiny-llama/shard.js';
import { root } from '../../helpers/project.js';

const folder = join(root, 'examples/tiny-llama/model');
const [config, tensors] = await Promise.all([loadConfig(folder), loadSafetensors(join(folder, 'model.safetensors'))]);

describe('shards of a model', () => {
  it('add up to the logits of the whole model, over several passes', () => {
    const whole = new Llama(config, tensors);
    const shards = [0, 1].map((rank) => {
      const model = new Llama(shardConfig(config, 2), shardTensors(tensors, { rank, size: 2 }));
      return { model, memory: new RankMemory(model.config, 8) };
    });
    const table = Uint32Array.of(9, 2, 5);
    const cache = whole.createCache();
    for (const tokens of [Array.from({ length: 13 }, (_, at) => 300 + at), [7], [8, 9]]) {
      const position = cache.length;
      const expected = whole.forward(tokens, cache);
      const passes = shards.map(({ model, memory }) => model.steps(tokens, new RankCache(memory, table, position)));
      for (;;) {
        const [first, second] = passes.map((pass) => pass.next());
        const [added, other] = [first?.value as Float32Array, second?.value as Float32Array];
        if (first?.done === true) {
          const difference = added.reduce((most, logit, id) => Math.max(most, Math.abs(logit - expected[id]!)), 0);
          expect(difference).toBeLessThan(1e-3);
          break;
        }
        for (let i = 0; i < added.length; i++) added[i]! += other[i]!;
        other.set(added);
      }
    }
  });

  it('have the rows or the columns of the rank, and whole norms', () => {
    const [first, second] = [0, 1].map((rank) => shardTensors(tensors, { rank, size: 2 }));
    const name = (part: string) => `model.layers.0.${part}.weight`;
    for (const [part, shape] of [
      ['self_attn.q_proj', [64, 128]],
      ['self_attn.k_proj', [32, 128]],
      ['self_attn.o_proj', [128, 64]],
      ['mlp.up_proj', [192, 128]],
      ['mlp.down_proj', [128, 192]],
      ['input_layernorm', [128]],
    ] as const)
      expect([part, first?.get(name(part))?.shape]).toEqual([part, shape]);
    const rows = tensors.get(name('self_attn.k_proj'))?.data as Float32Array;
    expect(second?.get(name('self_attn.k_proj'))?.data).toEqual(rows.subarray(32 * 128));
    const columns = tensors.get(name('self_attn.o_proj'))?.data as Float32Array;
    expect(second?.get(name('self_attn.o_proj'))?.data.subarray(64, 128)).toEqual(columns.subarray(128 + 64, 256));
  });

  it.each([
    ['heads', 3],
    ['kvHeads', 4],
  ])('are rejected with RangeError if %s cannot be divided by %i', (name, size) => {
    expect(() => shardConfig(config, size)).toThrow(RangeError);
    expect(() => shardConfig(config, size)).toThrow(`expected a divisor of the model's`);
    expect(() => shardConfig(config, size)).toThrow(name);
  });
});

describe('a link between ranks', () => {
  const pair = (): [RankLink, RankLink] => {
    const [there, back] = [new PassThrough(), new PassThrough()];
    const one = Duplex.from({ readable: back, writable: there });
    return [new RankLink(one), new RankLink(Duplex.from({ readable: there, writable: back }))];
  };

  it('delivers messages in order, however their bytes arrive', async () => {
    const chunks: Buffer[] = [];
    const write = (chunk: Buffer, _: unknown, done: () => void): void => (chunks.push(chunk), done());
    const sender = new RankLink(new Duplex({ read: () => {}, write }));
    const values = [Float32Array.of(), Float32Array.of(1.5), new Float32Array(100).fill(2)];
    for (const value of values) sender.send(RankMessage.sum, value);
    const bytes = Buffer.concat(chunks);
    const stream = new PassThrough();
    const link = new RankLink(stream);
    for (let at = 0; at < bytes.length; at += 5) stream.write(bytes.subarray(at, at + 5));
    for (const value of values) expect(await link.receiveFloats(RankMessage.sum)).toEqual(value);
  });

  it('rejects a message of another kind', async () => {
    const [one, other] = pair();
    one.send(RankMessage.rows, Float32Array.of(1));
    await expect(other.receiveFloats(RankMessage.sum)).rejects.toThrow(
      'expected a message of kind 3, got one of kind 4',
    );
  });

  it('rejects what waits, and what comes later, when the other side ends', async () => {
    const [one, other] = pair();
    const waiting = other.receive();
    one.close();
    await expect(waiting).rejects.toThrow('the other side has ended');
    await expect(other.receive()).rejects.toThrow('the other side has ended');
    await other.closed;
  });
});
