// A worker process: serves a CountingEngine in the deployment of DIR, and reports each request to its parent.
import { modelPath } from '../../../../examples/tiny-llama/engine.js';
import {
  DistributedRuntime,
  type PreprocessedRequest,
  type RequestContext,
  serveEngine,
} from '../../../../lib/index.js';
import { CountingEngine } from '../engines.js';

const [dir, pauseMs] = process.argv.slice(2) as [string, string];

class ReportingEngine extends CountingEngine {
  override generate(request: PreprocessedRequest, context: RequestContext) {
    process.send?.({
      event: 'generate',
      id: context.id,
      most: request.stop_conditions.max_tokens,
      prompt: request.token_ids.length,
    });
    return super.generate(request, context);
  }
}

const runtime = await DistributedRuntime.create({
  discovery: { kind: 'file', dir },
  host: '127.0.0.1',
  inhibitedSeconds: 0,
});
const worker = await serveEngine(
  runtime.endpoint('test.backend.generate'),
  new ReportingEngine('counting', Number(pauseMs)),
  {
    modelPath,
  },
);
await worker.ready;
process.send?.({ event: 'ready' });
process.once('disconnect', () => void worker.close().then(() => runtime.close()));
