import ts from 'typescript';

const kinds = { Bytes: 'bytes', U32s: 'u32s', U64s: 'u64s' };

const literalsOf = (node) => (ts.isUnionTypeNode(node) ? node.types : [node]).map(({ literal }) => literal.text);

function kindOf(node) {
  const name = node.typeName.text;
  return name in kinds ? kinds[name] : literalsOf(node.typeArguments[0]).join('|');
}

function partsOf(node) {
  if (node === undefined) return {};
  return Object.fromEntries(
    node.members.map((member) => [
      member.name.text,
      { kind: kindOf(member.type), isOptional: member.questionToken !== undefined },
    ]),
  );
}

/** A result type in the words of a `Takes` line. */
function resultOf(node) {
  if (ts.isUnionTypeNode(node)) return node.types.map(resultOf).join(' or ');
  if (ts.isTupleTypeNode(node)) return node.elements.map(resultOf).join(', ');
  if (ts.isOptionalTypeNode(node)) return `${resultOf(node.type)}?`;
  if (ts.isRestTypeNode(node)) return `${resultOf(node.type.elementType)}...`;
  if (node.kind === ts.SyntaxKind.UndefinedKeyword) return 'nothing';
  if (node.kind === ts.SyntaxKind.NumberKeyword) return 'number';
  return ts.isTypeReferenceNode(node) && node.typeName.text === 'Handle' ? `handle ${kindOf(node)}` : kindOrText(node);
}

const kindOrText = (node) => (node.typeName?.text in kinds ? kinds[node.typeName.text] : node.getText());

function functionOf(member) {
  const name = member.name.text;
  if (!ts.isPropertySignature(member)) return { name };
  const [result, parts] = member.type.typeArguments;
  const isAsync = member.type.typeName.text === 'Async';
  return { name, isAsync, signature: { parts: partsOf(parts), returns: resultOf(result) } };
}

/** The functions that the interfaces of a file declare. A plain method has no signature. */
export function declaredFunctions(text) {
  const { statements } = ts.createSourceFile('native.ts', text, ts.ScriptTarget.Latest, true);
  return statements
    .filter((node) => ts.isInterfaceDeclaration(node) && node.name.text.endsWith('Native'))
    .flatMap((node) => node.members.map(functionOf));
}
