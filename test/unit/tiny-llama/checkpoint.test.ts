import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { LocalKvCache } from '../../../examples/tiny-llama/cache.js';
import { loadConfig, parseConfig } from '../../../examples/tiny-llama/config.js';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { loadSafetensors, parseSafetensors } from '../../../examples/tiny-llama/safetensors.js';

const folder = fileURLToPath(new URL('../../../examples/tiny-llama/model', import.meta.url));

function safetensors(header: unknown, data: Uint8Array = new Uint8Array()): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

describe('parseSafetensors', () => {
  const tensor = (dtype: string, count: number, ...bytes: number[]) =>
    parseSafetensors(
      safetensors(
        { __metadata__: { format: 'pt' }, t: { dtype, shape: [count], data_offsets: [0, bytes.length] } },
        Uint8Array.from(bytes),
      ),
    ).get('t');

  it('reads F32, BF16 and F16 as float32, wherever they start', () => {
    expect(tensor('F32', 1, 0, 0, 0xc0, 0x3f)?.data).toEqual(Float32Array.of(1.5));
    expect(tensor('BF16', 2, 0xc0, 0x3f, 0x80, 0xff)?.data).toEqual(Float32Array.of(1.5, -Infinity));
    expect(tensor('F16', 6, 0, 0x3e, 0, 0xc0, 1, 0, 0xff, 0x7b, 0, 0x7c, 0, 0x80)?.data).toEqual(
      Float32Array.of(1.5, -2, 2 ** -24, 65504, Infinity, -0),
    );
    expect(tensor('F16', 1, 1, 0x7c)?.data[0]).toBeNaN();
  });

  const entry = { dtype: 'F32', shape: [1], data_offsets: [0, 4] };
  const bad: [string, Uint8Array, string, ErrorConstructor][] = [
    ['a file without header length', new Uint8Array(3), 'expected at least 8 bytes, got 3', RangeError],
    ['a header beyond the end', new Uint8Array(8).fill(255), 'expected a header of at most 0 bytes', RangeError],
    ['a header that is no JSON', safetensors('{'), 'expected a JSON header', TypeError],
    ['a header that is no object', safetensors('[]'), 'expected a JSON object as header, got []', TypeError],
    [
      'another type',
      safetensors({ t: { ...entry, dtype: 'I64' } }),
      'tensor t: expected dtype F32, F16, BF16, got I64',
      TypeError,
    ],
    ['a negative size', safetensors({ t: { ...entry, shape: [-1] } }), 'tensor t: expected a shape', TypeError],
    [
      'missing offsets',
      safetensors({ t: { ...entry, data_offsets: [0] } }),
      'tensor t: expected data_offsets',
      TypeError,
    ],
    ['a tensor beyond the end', safetensors({ t: entry }, new Uint8Array(3)), 'got 0 to 4', RangeError],
    [
      'bytes that do not fit the shape',
      safetensors({ t: { ...entry, shape: [2] } }, new Uint8Array(4)),
      'tensor t: expected 8 bytes for F32 [2], got 4',
      RangeError,
    ],
  ];
  it.each(bad)('rejects %s', (_, bytes, message, kind) => {
    expect(() => parseSafetensors(bytes)).toThrow(kind);
    expect(() => parseSafetensors(bytes)).toThrow(message);
  });
});

describe('parseConfig', () => {
  const config = {
    model_type: 'llama',
    hidden_act: 'silu',
    hidden_size: 128,
    intermediate_size: 384,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    vocab_size: 1024,
    max_position_embeddings: 4096,
  };

  it('uses the defaults of Hugging Face', () => {
    expect(parseConfig(config)).toEqual({
      vocabSize: 1024,
      hiddenSize: 128,
      intermediateSize: 384,
      layers: 4,
      heads: 4,
      kvHeads: 4,
      headDim: 32,
      rmsNormEps: 1e-6,
      ropeTheta: 10000,
      maxPositions: 4096,
      tiedEmbeddings: false,
      eosTokenIds: [],
    });
  });

  it('takes rope_theta from rope_parameters and end tokens from the generation config first', () => {
    const parsed = parseConfig(
      { ...config, rope_parameters: { rope_type: 'default', rope_theta: 500 }, eos_token_id: 1 },
      { eos_token_id: [2, 3] },
    );
    expect(parsed.ropeTheta).toBe(500);
    expect(parsed.eosTokenIds).toEqual([2, 3]);
  });

  const bad: [Record<string, unknown>, string, ErrorConstructor][] = [
    [{ model_type: 'qwen2' }, 'model_type: expected "llama", got "qwen2"', TypeError],
    [{ hidden_act: 'gelu' }, 'hidden_act: expected "silu", got "gelu"', TypeError],
    [{ attention_bias: true }, 'attention_bias: expected false, got true', TypeError],
    [{ rope_scaling: { rope_type: 'llama3' } }, 'rope_scaling: expected the default rope, got "llama3"', TypeError],
    [{ hidden_size: undefined }, 'hidden_size: expected a positive integer, got undefined', TypeError],
    [{ num_hidden_layers: 0 }, 'num_hidden_layers: expected a positive integer, got 0', TypeError],
    [{ num_key_value_heads: 3 }, 'num_key_value_heads: expected a divisor of 4 heads, got 3', RangeError],
    [{ head_dim: 31 }, 'head_dim: expected an even number, got 31', RangeError],
    [{ rms_norm_eps: 'small' }, 'rms_norm_eps: expected a positive number, got "small"', TypeError],
    [{ eos_token_id: 1024 }, 'eos_token_id: expected ids from 0 to 1023, got 1024', RangeError],
  ];
  it.each(bad)('rejects %o', (change, message, kind) => {
    expect(() => parseConfig({ ...config, ...change })).toThrow(kind);
    expect(() => parseConfig({ ...config, ...change })).toThrow(message);
  });
});

describe('Llama', () => {
  it('loads the bundled checkpoint, with grouped queries and heads of 32', async () => {
    const { config } = await Llama.load(folder);
    expect(config.headDim).toBe(32);
    expect(config.kvHeads).toBeLessThan(config.heads);
    expect(config.maxPositions).toBeGreaterThanOrEqual(2048);
  });

  it('rejects a missing tensor and one with another shape', async () => {
    const config = await loadConfig(folder);
    const tensors = await loadSafetensors(join(folder, 'model.safetensors'));
    const name = 'model.layers.1.self_attn.k_proj.weight';
    const without = new Map(tensors);
    without.delete(name);
    expect(() => new Llama(config, without)).toThrow(`expected tensor ${name} [64, 128], got none`);
    expect(() => new Llama({ ...config, kvHeads: 4 }, tensors)).toThrow(
      'expected tensor model.layers.0.self_attn.k_proj.weight [128, 128], got [64, 128]',
    );
    expect(() => new Llama({ ...config, tiedEmbeddings: false }, tensors)).toThrow(
      'expected tensor lm_head.weight [1024, 128], got none',
    );
  });

  it('rejects a folder whose config is not a JSON object, and names the file', async () => {
    const broken = await mkdtemp(join(tmpdir(), 'tiny-llama-'));
    try {
      await writeFile(join(broken, 'config.json'), '[]');
      await expect(loadConfig(broken)).rejects.toThrow(
        `${join(broken, 'config.json')}: expected a JSON object, got []`,
      );
      await writeFile(join(broken, 'config.json'), await readFile(join(folder, 'config.json')));
      expect((await loadConfig(broken)).eosTokenIds).toEqual([2]);
    } finally {
      await rm(broken, { recursive: true });
    }
  });

  it('rejects an empty list of tokens and leaves the cache unchanged', async () => {
    const model = await Llama.load(folder);
    const cache = model.createCache();
    expect(() => model.forward([], cache)).toThrow('expected at least one token, got none');
    expect(() => model.forward([1, -1], cache)).toThrow('tokenIds[1]: expected a token id from 0 to 1023, got -1');
    expect(cache.length).toBe(0);
  });
});

describe('LocalKvCache', () => {
  const sizes = { layers: 2, rowSize: 2, capacity: 5, blockSize: 2 };
  const rows = (...values: number[]) => Float32Array.from(values);

  it('stores rows in blocks, across block boundaries, one layer at a time', () => {
    const cache = new LocalKvCache(sizes);
    cache.append(0, rows(1, 2, 3, 4, 5, 6), rows(-1, -2, -3, -4, -5, -6));
    expect(cache.length).toBe(0);
    cache.advance(3);
    cache.append(0, rows(7, 8), rows(-7, -8));
    expect(cache.keys(0, 0)).toEqual(rows(1, 2, 3, 4));
    expect(cache.keys(0, 1)).toEqual(rows(5, 6, 7, 8));
    expect(cache.values(0, 1)).toEqual(rows(-5, -6, -7, -8));
    expect(() => cache.keys(1, 0)).toThrow('KvCache block: expected one of the 0 stored, got 0');
    expect(() => cache.keys(2, 0)).toThrow('KvCache layer: expected 0 to 1, got 2');
  });

  it('rejects rows that do not fit', () => {
    const cache = new LocalKvCache(sizes);
    expect(() => cache.append(0, new Float32Array(12), new Float32Array(12))).toThrow('at most 5 more tokens, got 6');
    expect(() => cache.append(0, rows(1), rows(1))).toThrow('expected whole rows of 2 floats');
    expect(() => cache.append(0, rows(1, 2), rows(1, 2, 3, 4))).toThrow('as many keys as values, got 2 and 4');
    expect(() => cache.advance(6)).toThrow('expected 0 to 5 tokens, got 6');
    expect(() => new LocalKvCache({ ...sizes, capacity: 0 })).toThrow(
      'options.capacity: expected a positive integer, got 0',
    );
  });
});
