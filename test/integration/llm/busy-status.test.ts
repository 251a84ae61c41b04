import { describe, it } from 'vitest';
import { expectRejectionsWhileBusy } from '../../helpers/llm/busy-worker.js';
import { deployments } from '../../helpers/llm/deployments.js';

process.env['DYN_HTTP_OVERLOAD_STATUS_CODE'] = '503';
const deployment = deployments();

describe('a frontend with DYN_HTTP_OVERLOAD_STATUS_CODE', () => {
  it('rejects requests with that status if all workers are busy', () =>
    expectRejectionsWhileBusy(deployment(), { activeDecodeBlocks: 0.5 }, 503));
});
