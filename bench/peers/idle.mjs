// idle.mjs nothing|import|client: how much memory there is then
import { answerCommands, tell } from './load.mjs';

const [state] = process.argv.slice(2);
const close = [];
if (state !== 'nothing') {
  const { DistributedRuntime } = await import('dynamo-node');
  if (state === 'client') {
    const runtime = await DistributedRuntime.create();
    const client = await runtime.endpoint('idle.bench.echo').client();
    close.push(
      () => client.close(),
      () => runtime.close(),
    );
  }
}
tell({ ready: true });
await answerCommands(() => ({}));
for (const one of close) await one();
