import { expect, it } from 'vitest';
import { runExample } from '../../helpers/examples/run.js';

it('the example processor hides e-mail addresses from the worker, and returns them to the client', async () => {
  expect(await runExample('processor')).toEqual([
    'the client sends     Write to ann@example.org, and to bob.b@mail.example.com.',
    'the worker receives  Write to <e000>, and to <e001>.',
    'the client receives  Write to ann@example.org, and to bob.b@mail.example.com.',
  ]);
});
