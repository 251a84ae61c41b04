// blocks-owner.ts FOLDER: shares a manager's blocks through file discovery until it is killed.
import {
  BlockManager,
  DistributedRuntime,
  loadNixl,
  NixlAgent,
  SharedBlocks,
  type ShareRequest,
  type ShareResponse,
  TokenSequence,
} from '../../../../lib/index.js';
import { emit } from '../../runtime/programs/lines.js';

const dir = process.argv[2] as string;
const layout = { layers: 4, heads: 4, headDim: 64, elementType: 'float32' } as const;
const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
const manager = new BlockManager({
  tier: 'host',
  blockCount: 16,
  blockSize: 16,
  layout,
  storage: { kind: 'memory', checksums: true },
});
const agent = await NixlAgent.create(`owner-${process.pid}`, { library: loadNixl({ mode: 'real' }) });
const sequence = new TokenSequence(new Uint32Array(16 * 16), { blockSize: 16 });
const blocks = manager.allocateOrThrow(16);
for (let index = 0; index < 16; index++) blocks.bytes(index).fill(index + 1);
blocks.stage(sequence).register().dispose();
await SharedBlocks.serve(manager, agent, runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks'));
emit('ready', {});
