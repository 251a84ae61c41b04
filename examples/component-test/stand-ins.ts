// Models that behave as a test wants.
import { DynamoError } from 'dynamo-node';
import { defineService, graph } from 'dynamo-node/sdk';
import { Model, Summary } from './summary.js';

/** Never ends by itself. */
export const Endless = defineService('Endless', { implements: [Model] }).endpoint(
  'generate',
  async function* (_: string) {
    for (let count = 1; ; count++) yield `word ${count}`;
  },
);

/** Its first worker is always full. */
export const Busy = defineService('Busy', { implements: [Model], workers: 2 }).endpoint(
  'generate',
  async function* (_: string, { worker }) {
    if (worker === 0) throw new DynamoError('CapacityExhausted', 'worker 0 is full');
    yield 'short';
  },
);

export const summaryWith = (model: typeof Endless | typeof Busy) => graph('summary', Summary).link(Summary, model);
