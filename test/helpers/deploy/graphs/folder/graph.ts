import { graph } from 'dynamo-node/sdk';
import { One } from '../roots.js';

export default graph('by-default', One);
