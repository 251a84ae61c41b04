import ts from 'typescript';
import { filesOf, lineOf, parse, root, runCheck, walk } from './lint/source.mjs';

/** The file that defines the checks. */
const ground = 'lib/check.ts';

function isUntyped(node) {
  if (!ts.isCallExpression(node) || !ts.isIdentifier(node.expression)) return false;
  const { text } = node.expression;
  return text === 'checkOptions' || (text === 'checkObject' && node.arguments.length > 2);
}

/** Every check of an options object against a list of names that its type is not tied to, in a parsed file. */
export function untypedOptions(source) {
  const found = [];
  walk(source, (node) => {
    if (isUntyped(node))
      found.push(`${source.fileName}:${lineOf(source, node)}: check options with an optionTable of lib/options.ts`);
  });
  return found;
}

runCheck(import.meta.url, () =>
  filesOf(root, 'lib', /\.ts$/)
    .filter((file) => file !== ground)
    .flatMap((file) => untypedOptions(parse(root, file))),
);
