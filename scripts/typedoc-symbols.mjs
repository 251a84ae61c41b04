import { Comment, Converter, ReflectionKind } from 'typedoc';

/** Methods whose name is a symbol mean the same in every class. Their text in the reference is here. */
const meanings = {
  '[dispose]': 'Disposes the object at the end of a `using` block.',
  '[asyncDispose]': 'Closes the object at the end of an `await using` block.',
  '[iterator]': 'Returns the items one by one.',
  '[asyncIterator]': 'Returns the items as they arrive.',
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
