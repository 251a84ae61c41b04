// Two services. Each worker says on which machine it runs.
import { networkInterfaces } from 'node:os';
import { type ClientOf, depends, endpoint, graph, service } from 'dynamo-node/sdk';

const machine = (): string =>
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1';

@service({ workers: 2 })
class Worker {
  @endpoint()
  async *generate(text: string): AsyncGenerator<string> {
    for (const word of text.split(' ')) yield `${word.toUpperCase()} from ${machine()}`;
  }
}

@service()
class Frontend {
  @depends(Worker) readonly worker!: ClientOf<Worker>;

  @endpoint({ transports: ['dynamo', 'http'] })
  async *generate(text: string): AsyncGenerator<string> {
    for await (const word of this.worker.generate(text)) yield `${word} by ${machine()}`;
  }
}

export default graph('multi-node', Frontend);
