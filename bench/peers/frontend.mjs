// frontend.mjs: Dynamo's HTTP frontend on a free port
import { DistributedRuntime, Frontend } from 'dynamo-node';
import { answerCommands, report } from './load.mjs';

const frontend = await Frontend.start(await DistributedRuntime.create(), { host: '127.0.0.1', port: 0 });
await frontend.ready;
report({ url: frontend.url });
await answerCommands(() => ({}));
await frontend.close({ timeoutMs: 2000 });
