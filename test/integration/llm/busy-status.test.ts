import { it } from 'vitest';
import { busyThenFree } from '../../helpers/llm/busy-worker.js';
import { deployments } from '../../helpers/llm/deployments.js';

process.env['DYN_HTTP_OVERLOAD_STATUS_CODE'] = '503';
const deployment = deployments();

it('a frontend whose workers are all busy answers as its environment says', () =>
  busyThenFree(deployment(), { activeDecodeBlocks: 0.5 }, 503));
