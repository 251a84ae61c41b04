// The test in vitest: npx vitest run --root examples/component-test
import { startGraph } from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';
import { Busy, Endless, summaryWith } from './stand-ins.js';
import { Summary } from './summary.js';

describe('Summary', () => {
  it('sends its prompt, and cancels the model after the maximum of words', async (test) => {
    const running = await startGraph(summaryWith(Endless), { test, overrides: ['--Summary.max-words=3'] });
    const { summarize } = await running.client(Summary);
    expect(await summarize({ text: 'a long story' }).collect()).toEqual(['word 1', 'word 2', 'word 3']);
    const { request, signal } = await running.requests(Endless).next();
    expect(request).toBe('Summarize: a long story');
    await expect.poll(() => signal.aborted).toBe(true);
  });

  it('uses another worker if the first one is full', async (test) => {
    const running = await startGraph(summaryWith(Busy), { test });
    const { summarize } = await running.client(Summary);
    for (let call = 0; call < 4; call++) expect(await summarize({ text: 'a story' }).collect()).toEqual(['short']);
  });

  it('rejects an empty text with the path of the field', async (test) => {
    const running = await startGraph(summaryWith(Endless), { test });
    const { summarize } = await running.client(Summary);
    await expect(summarize({ text: '' }).collect()).rejects.toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      message: expect.stringContaining('request.text'),
    });
  });
});
