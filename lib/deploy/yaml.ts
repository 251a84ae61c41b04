import { Document, visit } from 'yaml';

/** What every reader takes for a string, unless its schema knows the word, such as `yes`. */
const PLAIN = /^[A-Za-z][\w./-]*(:[\w./-]+)*$/;

/** What a reader takes as it stands between single quotes. */
const PRINTABLE = /^[\x20-\x7e]*$/;

/**
 * A value as YAML that readers of the versions 1.1 and 1.2 understand alike: a string such as `y`, `012` or `0o7` is
 * quoted. The same value gives the same text.
 */
export function toYaml(value: object): string {
  const document = new Document(value, { schema: 'yaml-1.1', aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value !== 'string' || PLAIN.test(node.value)) return;
      node.type = PRINTABLE.test(node.value) ? 'QUOTE_SINGLE' : 'QUOTE_DOUBLE';
    },
  });
  return document.toString({ lineWidth: 0 });
}
