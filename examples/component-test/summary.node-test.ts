// The same in node:test: node --import tsx --test examples/component-test/summary.node-test.ts
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startGraph, waitFor } from 'dynamo-node/testing';
import { Busy, Endless, summaryWith } from './stand-ins.js';
import { Summary } from './summary.js';

describe('Summary', () => {
  it('sends its prompt, and cancels the model after the maximum of words', async (test) => {
    const running = await startGraph(summaryWith(Endless), { test, overrides: ['--Summary.max-words=3'] });
    const { summarize } = await running.client(Summary);
    assert.deepEqual(await summarize({ text: 'a long story' }).collect(), ['word 1', 'word 2', 'word 3']);
    const { request, signal } = await running.requests(Endless).next();
    assert.equal(request, 'Summarize: a long story');
    await waitFor('the cancellation', () => signal.aborted);
  });

  it('uses another worker if the first one is full', async (test) => {
    const running = await startGraph(summaryWith(Busy), { test });
    const { summarize } = await running.client(Summary);
    for (let call = 0; call < 4; call++) assert.deepEqual(await summarize({ text: 'a story' }).collect(), ['short']);
  });

  it('rejects an empty text with the path of the field', async (test) => {
    const running = await startGraph(summaryWith(Endless), { test });
    const { summarize } = await running.client(Summary);
    await assert.rejects(summarize({ text: '' }).collect(), { code: 'DYN_INVALID_REQUEST', message: /request\.text/ });
  });
});
