import { describe, expect, it } from 'vitest';
import { shownError } from '../../../lib/deploy/local/shown-error.js';
import { DynamoError } from '../../../lib/errors.js';

describe('shownError', () => {
  const taken = new DynamoError('Conflict', 'port 8000 of 127.0.0.1 is taken', { cause: new Error('EADDRINUSE') });

  it('is the message of an error that is no bug', () => {
    expect(shownError(taken, false)).toBe('DynamoError: port 8000 of 127.0.0.1 is taken');
    const denied = Object.assign(new Error('listen EACCES 127.0.0.1:80'), { code: 'EACCES' });
    expect(shownError(denied, false)).toBe('Error: listen EACCES 127.0.0.1:80');
  });

  it('is everything of a bug, and of any error if that is asked for', () => {
    for (const text of [
      shownError(new TypeError('x is undefined'), false),
      shownError(new DynamoError('Internal', 'a fault'), false),
      shownError(taken, true),
    ])
      expect(text).toMatch(/shown-error\.test\.ts:\d+/);
    expect(shownError('text', false)).toBe("'text'");
  });
});
