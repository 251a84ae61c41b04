// TypeScript calls Python, and Python calls TypeScript, in one graph.
import { type ClientOf, depends, endpoint, graph, pythonService, service } from 'dynamo-node/sdk';

@service()
export class Words {
  @endpoint()
  async *split(text: string): AsyncGenerator<string> {
    yield* text.split(' ');
  }
}

/** The methods of `word_statistics.py`. */
interface Statistics {
  lengths(text: string): AsyncIterable<{ word: string; length: number; python: string }>;
}

const Statistics = pythonService<Statistics>('Statistics', {
  module: 'word_statistics',
  endpoints: ['lengths'],
  deps: { words: depends(Words) },
});

@service()
export class Report {
  @depends(Statistics) readonly statistics!: ClientOf<Statistics>;

  @endpoint({ transports: ['dynamo', 'http'] })
  async *report(text: string): AsyncGenerator<string> {
    for await (const { word, length, python } of this.statistics.lengths(text))
      yield `${word} has ${length} letters, says Python ${python}`;
  }
}

export default graph('python-and-typescript', Report);
