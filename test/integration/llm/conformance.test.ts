import type { LLMEngine, RawEngine } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { TinyLlamaEngine } from '../../../examples/tiny-llama/engine.js';
import { runConformance } from '../../helpers/llm/conformance.js';
import { CountingEngine } from '../../helpers/llm/engines.js';

describe('the upstream conformance kit', () => {
  it('passes for the tiny Llama engine', async () => {
    await runConformance('token', () => new TinyLlamaEngine());
  });

  it('passes for an engine that ignores its signal, because the native side ends it', async () => {
    const engine = (): LLMEngine => ({
      start: () => ({ model: 'deaf' }),
      async *generate(request) {
        const most = request.stop_conditions.max_tokens ?? 8;
        for (let index = 0; index < most; index++) {
          await new Promise((resolve) => setTimeout(resolve, most > 100 ? 20 : 0));
          yield { token_ids: [1] };
        }
        yield { token_ids: [], finish_reason: 'length' };
      },
    });
    await runConformance('token', engine);
  });

  it('passes for a raw engine', async () => {
    const engine = (): RawEngine => ({
      start: () => ({ model: 'picture' }),
      async *generate(_request, { signal }) {
        for (let step = 0; step < 3 && !signal.aborted; step++) await new Promise((resolve) => setTimeout(resolve, 1));
        yield { data: [{ url: 'data:,' }] };
      },
    });
    await runConformance('raw', engine);
  });

  it('passes for an encoder', async () => {
    const encoder = (): LLMEngine => ({
      start: () => ({ model: 'eyes' }),
      async *generate(request) {
        const images = (request.multi_modal_data?.['image'] ?? []).length;
        const prompt_tokens = request.token_ids.length;
        yield {
          token_ids: [],
          finish_reason: 'stop',
          encoder_result: { images },
          completion_usage: { prompt_tokens, completion_tokens: 0, total_tokens: prompt_tokens },
        };
      },
    });
    await runConformance('encode', encoder);
  });

  it('fails for an encoder that returns tokens', async () => {
    await expect(runConformance('encode', () => new CountingEngine('mouth'))).rejects.toThrow(/encode/i);
  });

  it('fails for an engine that ends without a finish reason', async () => {
    class Mute extends CountingEngine {
      override async *generate() {
        yield { token_ids: [1] };
      }
    }
    await expect(runConformance('token', () => new Mute('mute'))).rejects.toThrow(/finish_reason/);
  });

  it('fails for an engine whose cleanup throws', async () => {
    class Messy extends CountingEngine {
      override cleanup() {
        throw new Error('cannot let go');
      }
    }
    await expect(runConformance('token', () => new Messy('messy'))).rejects.toThrow(/cannot let go/);
  });
});
