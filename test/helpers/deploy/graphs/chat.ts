import { frontendService, graph } from 'dynamo-node/sdk';

export default graph('chat-test', frontendService('Chat', { engine: { kind: 'echo', modelName: 'echo' } }));
