// Two services: one splits a text into words, the other one calls it and greets with them.
import { type ClientOf, depends, endpoint, graph, service } from 'dynamo-node/sdk';

@service({ workers: 2 })
export class Words {
  @endpoint()
  async *split(text: string): AsyncGenerator<string> {
    yield* text.split(' ');
  }
}

@service()
export class Greeter {
  @depends(Words) readonly words!: ClientOf<Words>;

  @endpoint()
  async *greet(names: string): AsyncGenerator<string> {
    for await (const name of this.words.split(names)) yield `hello, ${name}`;
  }
}

export default graph('hello-world', Greeter);
