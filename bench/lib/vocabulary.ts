import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The mocker of Dynamo answers with ids from 1000 to this one, exclusive. */
const IDS = 2000;

/**
 * Copies the folder of a model and adds a word for every id with which the mocker answers. Ids without a word produce
 * no event.
 */
export function withMockerVocabulary(model: string, folder: string): string {
  const copy = join(folder, 'model');
  cpSync(model, copy, { recursive: true, filter: (path) => !path.endsWith('.safetensors') });
  const edit = (name: string, change: (json: Record<string, unknown>) => void): void => {
    const json = JSON.parse(readFileSync(join(copy, name), 'utf8')) as Record<string, unknown>;
    change(json);
    writeFileSync(join(copy, name), JSON.stringify(json));
  };
  edit('tokenizer.json', (tokenizer) => {
    const { vocab } = tokenizer['model'] as { vocab: Record<string, number> };
    for (let id = Object.keys(vocab).length; id < IDS; id++) vocab[`Ġword${id}`] = id;
  });
  edit('config.json', (config) => (config['vocab_size'] = IDS));
  return copy;
}
