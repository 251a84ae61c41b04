import { defineService, depends } from 'dynamo-node/sdk';

export const Leaf = defineService('Leaf');
export const Root = defineService('Root', { deps: { leaf: depends(Leaf) } });
