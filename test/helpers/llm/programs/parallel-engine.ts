// An engine of two ranks that never ends by itself. It reports the processes of its ranks.
import { TinyLlamaEngine } from '../../../../examples/tiny-llama/engine.js';
import type { ParallelLlama } from '../../../../examples/tiny-llama/tensor-parallel.js';

class Engine extends TinyLlamaEngine {
  get ranks(): ParallelLlama {
    return this.model as ParallelLlama;
  }
}

const engine = new Engine('tiny-llama', { blockCount: 64, tensorParallelSize: 2 });
await engine.start();
console.log(JSON.stringify({ event: 'started', pids: engine.ranks.processIds }));
