// store.ts: a KV store with the blocks that a stand-in worker would have computed. The first command has its shape.
import { closeOnSignal, loadNixl } from 'dynamo-node';
import { VllmKvStore, type VllmOffer, type VllmStoreShape } from 'dynamo-node/vllm';
import { commands, emit } from '../../runtime/programs/lines.js';
import { contentOf, SHAPE } from '../worker.js';

type Command =
  | { readonly shape: VllmStoreShape; readonly tokens: number[] }
  | { readonly offer: number[] }
  | { readonly state: number };

let store: VllmKvStore | undefined;

function fill(store: VllmKvStore, tokens: readonly number[]): void {
  store.write(tokens, (bytes, { region, first }) =>
    contentOf(SHAPE, tokens, first / SHAPE.blockSize, region).copy(bytes),
  );
}

async function answer(command: Command): Promise<void> {
  if ('shape' in command) {
    const library = loadNixl({ mode: 'mock' });
    const made = await VllmKvStore.create({ shape: command.shape, blockCount: 16, leaseMs: 1000, library });
    store = made;
    closeOnSignal(() => made.close());
    fill(made, command.tokens);
    emit('ready', {});
  } else if ('offer' in command) {
    const { params, ended } = (await store?.offer(command.offer)) as VllmOffer;
    emit('offer', { params });
    void ended.then((end) => emit('ended', { end }));
  } else {
    const { openOffers, blocks } = (store as VllmKvStore).statistics();
    emit('state', { number: command.state, openOffers, empty: blocks.empty, inactive: blocks.inactive });
  }
}

for await (const command of commands<Command>()) await answer(command);
