// first-answer.mjs ENDPOINT TEXT EXPECTED: calls an endpoint as soon as it has an instance, until it has answered
import { DistributedRuntime } from 'dynamo-node';
import { answerCommands, report } from './load.mjs';

const [endpoint, text, expected] = process.argv.slice(2);
const runtime = await DistributedRuntime.create();
const client = await runtime.endpoint(endpoint).client();

async function firstAnswer() {
  for (;;) {
    await client.waitForInstances();
    const answer = await client.unary(text).catch(() => undefined);
    if (answer === undefined) continue;
    if (answer !== expected) throw new Error(`expected ${expected}, got ${answer}`);
    return { at: Date.now() };
  }
}

report({ ready: true });
await answerCommands(firstAnswer);
await client.close();
await runtime.close();
