import { type ClientOf, depends, endpoint, graph, service } from 'dynamo-node/sdk';

@service()
export class Splitter {
  @endpoint()
  async *split(text: string) {
    yield* text.split(' ');
  }
}

@service()
export class Upper {
  @depends(Splitter) readonly splitter!: ClientOf<Splitter>;

  @endpoint()
  async *generate(text: string) {
    for await (const word of this.splitter.split(text)) yield word.toUpperCase();
  }
}

export const staging = graph('staging', Upper);
export const unrelated = 1;
