// idle.mjs nothing|import|client: an idle process, whose memory the bench reads
import { answerCommands, report } from './load.mjs';

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
report({ ready: true });
await answerCommands(() => ({}));
for (const closeOne of close) await closeOne();
