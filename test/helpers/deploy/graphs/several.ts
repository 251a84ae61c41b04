import { graph } from 'dynamo-node/sdk';
import { One, Two } from './roots.js';

export const first = graph('first', One);
export const second = graph('second', Two);
