import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The URL of tsx, for the sources of this package. */
const tsxLoader = (): string => pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/**
 * The command of a Node.js program beside a module. Unlike `programBeside` it works in any working directory.
 *
 * @param module the module's `import.meta.url`
 * @param name the name of the program without its suffix
 * @param loader the URL of a further loader, if one is needed
 */
export function programCommand(module: string, name: string, loader?: string | undefined): string[] {
  const suffix = extname(fileURLToPath(module));
  const script = fileURLToPath(new URL(`./${name}${suffix}`, module));
  const loaders = new Set([...(suffix === '.ts' ? [tsxLoader()] : []), ...(loader === undefined ? [] : [loader])]);
  return [process.execPath, ...[...loaders].flatMap((url) => ['--import', url]), script];
}
