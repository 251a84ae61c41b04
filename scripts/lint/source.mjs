import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const skipped = new Set(['target', 'node_modules', 'results', 'model']);

/** The files of a folder whose name matches, as paths relative to `base`. */
export function filesOf(base, folder, pattern) {
  const path = join(base, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => a.name.localeCompare(b.name))
    .flatMap((entry) => {
      if (entry.isDirectory()) return skipped.has(entry.name) ? [] : filesOf(base, join(folder, entry.name), pattern);
      return pattern.test(entry.name) ? [posix.join(folder, entry.name)] : [];
    });
}

export function parse(base, file) {
  return ts.createSourceFile(file, readFileSync(join(base, file), 'utf8'), ts.ScriptTarget.Latest, true);
}

/** Calls `visit` for every node of a tree. */
export function walk(node, visit) {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

const onlyTypes = (clause) =>
  clause !== undefined &&
  (clause.isTypeOnly ||
    (clause.name === undefined &&
      clause.namedBindings !== undefined &&
      ts.isNamedImports(clause.namedBindings) &&
      clause.namedBindings.elements.every(({ isTypeOnly }) => isTypeOnly)));

const onlyTypeExports = (node) =>
  node.isTypeOnly ||
  (node.exportClause !== undefined &&
    ts.isNamedExports(node.exportClause) &&
    node.exportClause.elements.every(({ isTypeOnly }) => isTypeOnly));

const isLoad = (node) =>
  node.expression.kind === ts.SyntaxKind.ImportKeyword ||
  (ts.isIdentifier(node.expression) && node.expression.text === 'require');

function importOf(node) {
  if (ts.isImportDeclaration(node)) return [node.moduleSpecifier, onlyTypes(node.importClause)];
  if (ts.isExportDeclaration(node) && node.moduleSpecifier) return [node.moduleSpecifier, onlyTypeExports(node)];
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return [node.argument.literal, true];
  if (ts.isCallExpression(node) && isLoad(node))
    return [node.arguments[0], false, node.expression.kind === ts.SyntaxKind.ImportKeyword];
  return undefined;
}

/** Every import of a parsed file: static, of a type, by `require`, or lazy: by `import()`. */
export function importsOf(source) {
  const found = [];
  walk(source, (node) => {
    const [specifier, isType, isLazy = false] = importOf(node) ?? [];
    if (specifier && ts.isStringLiteralLike(specifier)) found.push({ specifier: specifier.text, isType, isLazy });
  });
  return found;
}

/** The source file that a relative import of `file` names. */
export function targetOf(file, specifier) {
  return posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts');
}

export const lineOf = (source, node) => source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;

export const relativeTo = (base, path) => relative(base, path).replaceAll('\\', '/');

/** Runs a check if its file is the program that Node.js was started with. */
export function runCheck(url, check) {
  if (url !== pathToFileURL(process.argv[1] ?? '').href) return;
  const faults = check();
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length > 0 ? 1 : 0;
}
