// The graph behind the web application: it knows nothing of HTTP, keys and limits.
import { endpoint, graph, service } from 'dynamo-node/sdk';
import { z } from 'zod';

@service({ workers: 2 })
export class Writer {
  @endpoint({ input: z.object({ text: z.string().min(1) }) })
  async *shout({ text }: { text: string }): AsyncGenerator<string> {
    for (const word of text.split(' ')) yield `${word.toUpperCase()} `;
  }
}

export default graph('writer', Writer);
