// Stands where `python -m dynamo.vllm` would: writes its arguments into $ARGUMENTS_FILE, and serves an endpoint.
import { writeFileSync } from 'node:fs';
import { BuiltInWorker } from 'dynamo-node';

const args = process.argv.slice(2);
const argumentOf = (flag: string): string => args[args.indexOf(flag) + 1] as string;

if (process.env['ENGINE_FAULT'] !== undefined) {
  console.error(process.env['ENGINE_FAULT']);
  process.exit(3);
}
// Before it is found: then it may be ended at any moment.
writeFileSync(process.env['ARGUMENTS_FILE'] as string, JSON.stringify(args));
console.log('loading weights');
const worker = await BuiltInWorker.start({}, argumentOf('--endpoint'), {
  kind: 'echo',
  modelName: argumentOf('--served-model-name'),
});
process.on('SIGTERM', () => void worker.close().then(() => process.exit(0)));
await worker.ready;
