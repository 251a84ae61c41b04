// worker.mjs MODEL_PATH MODEL_NAME: returns the prompt's tokens, one per item
import { DistributedRuntime, serveEngine } from 'dynamo-node';
import { answerCommands, report } from './load.mjs';

const [modelPath, name] = process.argv.slice(2);

const engine = {
  start: () => ({
    model: name,
    llm: { contextLength: 4096, kvCacheBlockSize: 64, totalKvBlocks: 4096, maxNumSeqs: 256 },
  }),
  async *generate({ token_ids: prompt, stop_conditions: { max_tokens: count } }) {
    for (let index = 0; index < count; index++) yield { token_ids: [prompt[index % prompt.length]] };
    yield { token_ids: [], finish_reason: 'length' };
  },
};

const runtime = await DistributedRuntime.create();
const worker = await serveEngine(runtime.endpoint(`${name}.backend.generate`), engine, { modelPath, kvRouting: false });
await worker.ready;
report({ ready: true });
await answerCommands(() => ({}));
await worker.close({ timeoutMs: 1000 });
await runtime.close({ timeoutMs: 1000 });
