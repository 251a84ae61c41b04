import { Comment, Converter, ReflectionKind } from 'typedoc';

/** Methods whose name is a symbol mean the same in every class: the reference tells it once, here. */
const meanings = {
  '[dispose]': 'Releases it at the end of a `using` block.',
  '[asyncDispose]': 'Closes it at the end of an `await using` block.',
  '[iterator]': 'The items, one by one.',
  '[asyncIterator]': 'The items, as they come.',
};

export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, (context) => {
    for (const signature of context.project.getReflectionsByKind(ReflectionKind.CallSignature)) {
      if (signature.name in meanings && !signature.hasComment()) {
        signature.comment = new Comment([{ kind: 'text', text: meanings[signature.name] }]);
      }
    }
  });
}
