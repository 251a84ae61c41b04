import { it } from 'vitest';
import { busyThenFree } from '../helpers/busy.js';
import { deployments } from '../helpers/serving.js';

const deployment = deployments();

it('a frontend whose workers are all busy answers 529', () => busyThenFree(deployment(), { activeDecodeBlocks: 0.5 }, 529));
