import { PYTHON_ENGINES, type PythonEngine, pythonEngine } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

const MODEL = 'org/model';
const connector = (role: string): string => JSON.stringify({ kv_connector: 'NixlConnector', kv_role: role });

describe('pythonEngine', () => {
  it('has the model alone if nothing else is set', () => {
    expect(PYTHON_ENGINES.map((engine) => pythonEngine({ engine, model: MODEL }))).toEqual([
      { module: 'dynamo.vllm', args: ['--model', MODEL] },
      { module: 'dynamo.sglang', args: ['--model-path', MODEL] },
      { module: 'dynamo.trtllm', args: ['--model', MODEL] },
    ]);
  });

  it.each<[PythonEngine, 'prefill' | 'decode', string[]]>([
    ['vllm', 'prefill', ['--kv-transfer-config', connector('kv_producer')]],
    ['vllm', 'decode', ['--kv-transfer-config', connector('kv_consumer')]],
    ['sglang', 'prefill', ['--disaggregation-transfer-backend', 'nixl']],
    ['sglang', 'decode', ['--disaggregation-transfer-backend', 'nixl']],
    [
      'trtllm',
      'prefill',
      ['--trtllm.cache_transceiver_config.backend', 'NIXL', '--trtllm.disable_overlap_scheduler', 'true'],
    ],
    ['trtllm', 'decode', ['--trtllm.cache_transceiver_config.backend', 'NIXL']],
  ])('moves the KV cache of %s with NIXL in the mode %s', (engine, disaggregationMode, handOver) => {
    const { args = [] } = pythonEngine({ engine, model: MODEL, disaggregationMode });
    expect(args.slice(2)).toEqual(['--disaggregation-mode', disaggregationMode, ...handOver]);
  });

  it.each<[PythonEngine, string[]]>([
    ['vllm', ['--kv-transfer-config', '{"kv_connector":"LMCacheConnectorV1","kv_role":"kv_both"}']],
    ['sglang', ['--disaggregation-transfer-backend=mooncake']],
    ['sglang', ['--disagg-config', 'roles.yaml', '--disagg-config-key', 'prefill']],
    ['trtllm', ['--override-engine-args', '{"cache_transceiver_config":{"backend":"UCX"}}']],
    ['trtllm', ['--trtllm.cache_transceiver_config.backend', 'UCX']],
  ])('leaves the hand-over of %s to the arguments %j', (engine, rest) => {
    const { args = [] } = pythonEngine({ engine, model: MODEL, disaggregationMode: 'prefill', args: rest });
    expect(args.slice(2)).toEqual(['--disaggregation-mode', 'prefill', ...rest]);
  });

  it('keeps the hand-over beside a flag whose name only begins like one of it', () => {
    const rest = ['--config-format', 'hf'];
    const { args = [] } = pythonEngine({ engine: 'sglang', model: MODEL, disaggregationMode: 'decode', args: rest });
    expect(args).toContain('nixl');
  });

  it.each<[PythonEngine, string]>([
    ['vllm', '--max-model-len 99 --block-size 32 --tensor-parallel-size 2'],
    ['sglang', '--context-length 99 --page-size 32 --tp-size 2'],
    ['trtllm', '--max-seq-len 99 --kv-block-size 32 --tensor-parallel-size 2'],
  ])('sets sizes with the flags of %s', (engine, flags) => {
    const sizes = { contextLength: 99, kvCacheBlockSize: 32, tensorParallelSize: 2 };
    const { args = [] } = pythonEngine({ engine, model: MODEL, modelName: 'name', ...sizes });
    expect(args.slice(2)).toEqual(['--served-model-name', 'name', ...flags.split(' ')]);
  });

  it('runs the mocker with the scheduler of the engine as a stand-in', () => {
    const options = { engine: 'sglang', model: MODEL, disaggregationMode: 'prefill', tensorParallelSize: 8 } as const;
    const args = '--engine-type sglang --disaggregation-mode prefill --block-size 16 --speedup-ratio 9'.split(' ');
    expect(pythonEngine({ ...options, standIn: true, kvCacheBlockSize: 16, args: args.slice(-2) })).toEqual({
      module: 'dynamo.mocker',
      args: ['--model-path', MODEL, ...args],
    });
  });

  it.each<[string, object, string]>([
    ['an unknown engine', { engine: 'llamacpp', model: MODEL }, 'pythonEngine.engine: expected'],
    ['no model', { engine: 'vllm' }, 'pythonEngine.model: expected a string, got undefined'],
    ['another mode', { engine: 'vllm', model: MODEL, disaggregationMode: 'both' }, 'pythonEngine.disaggregationMode'],
    ['no rank', { engine: 'vllm', model: MODEL, tensorParallelSize: 0 }, 'pythonEngine.tensorParallelSize'],
    ['an unknown option', { engine: 'vllm', model: MODEL, tp: 2 }, 'tp'],
  ])('rejects %s', (_, options, message) => {
    expect(() => pythonEngine(options as never)).toThrow(message);
  });
});
