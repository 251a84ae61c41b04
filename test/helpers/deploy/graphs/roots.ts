import { defineService } from 'dynamo-node/sdk';

export const One = defineService('One');
export const Two = defineService('Two');
