// Replaces the frontend's template and tokenizer. E-mail addresses of the chat never reach a worker.
import type { ProcessorFactory } from 'dynamo-node';

const EMAIL = /[\w.+-]+@[\w-]+(\.[\w-]+)+/g;
/** The first character of Unicode's private use area. Each address becomes one of them. */
const FIRST_PRIVATE = 0xe000;

/** One token for each character: its code point. */
export const processor: ProcessorFactory = () => ({
  async *process({ messages, max_tokens }, context) {
    const addresses: string[] = [];
    const hide = (address: string): string => String.fromCodePoint(FIRST_PRIVATE + addresses.push(address) - 1);
    const prompt = String(messages.at(-1)?.content).replace(EMAIL, hide);

    const token_ids = Uint32Array.from([...prompt], (character) => character.codePointAt(0) as number);
    for await (const output of context.generate({ token_ids, stop_conditions: { max_tokens: max_tokens ?? 256 } })) {
      const text = Array.from(output.token_ids, (id) => addresses[id - FIRST_PRIVATE] ?? String.fromCodePoint(id));
      const finish_reason = output.finish_reason === undefined ? null : 'stop';
      yield { choices: [{ index: 0, delta: { content: text.join('') }, finish_reason }] };
    }
  },
});
