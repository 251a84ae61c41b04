// The component: it asks a model for a summary, and ends the answer after a number of words.
import { type ClientOf, depends, endpoint, service, serviceContext, serviceInterface } from 'dynamo-node/sdk';
import { z } from 'zod';

/** What the component needs. The graph of a deployment links an engine to it. */
@serviceInterface({ endpoints: ['generate'] })
export abstract class Model {
  abstract generate(prompt: string): AsyncIterable<string>;
}

const Config = z.object({ 'max-words': z.number().int().positive().default(50) });

@service({ config: Config })
export class Summary {
  readonly #config = serviceContext<z.infer<typeof Config>>().config;
  @depends(Model) readonly model!: ClientOf<Model>;

  @endpoint({ input: z.object({ text: z.string().min(1) }) })
  async *summarize({ text }: { text: string }): AsyncGenerator<string> {
    let left = this.#config['max-words'];
    for await (const word of this.model.generate(`Summarize: ${text}`, { attempts: 2 })) {
      yield word;
      if (--left === 0) return;
    }
  }
}
