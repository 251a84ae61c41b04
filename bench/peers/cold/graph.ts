import { type ClientOf, depends, endpoint, graph, service } from 'dynamo-node/sdk';

@service({ workers: 2 })
class Splitter {
  @endpoint()
  async *generate(text: string) {
    yield* text.split(' ');
  }
}

@service({ workers: 2 })
class Upper {
  @depends(Splitter) readonly splitter!: ClientOf<Splitter>;

  @endpoint()
  async *generate(text: string) {
    for await (const word of this.splitter.generate(text)) yield word.toUpperCase();
  }
}

@service()
class Front {
  @depends(Upper) readonly upper!: ClientOf<Upper>;

  @endpoint()
  async generate(text: string) {
    const words: string[] = [];
    for await (const word of this.upper.generate(text)) words.push(word);
    return words.join('-');
  }
}

export default graph('cold', Front);
