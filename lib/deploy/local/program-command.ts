import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The URL of tsx, for the sources of this package. */
const tsxLoader = (): string => pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

const LATE_LOADER = new URL('./late-loader.js', import.meta.url).href;

/** For `--import`: `loader`, in a program of this folder not before the program imports it. */
function lateLoader(loader: string): string {
  const url = new URL(LATE_LOADER);
  url.searchParams.set('loader', loader);
  return url.href;
}

/** Whether the command of this process has loaded tsx. It must not be registered twice. */
export const isTsxRunning = (): boolean =>
  process.execArgv.some((argument) => argument.includes('tsx') && !argument.startsWith(LATE_LOADER));

/**
 * The command of a Node.js program beside a module. Unlike `programBeside` it works in any working directory.
 *
 * @param module the module's `import.meta.url`
 * @param name the name of the program without its suffix
 * @param loader the URL of the loader of TypeScript, if the graph needs one. The program imports it after its own
 *   modules; its threads and processes start with it
 */
export function programCommand(module: string, name: string, loader?: string | undefined): string[] {
  const suffix = extname(fileURLToPath(module));
  const script = fileURLToPath(new URL(`./${name}${suffix}`, module));
  const own = suffix === '.ts' ? [tsxLoader(), loader] : [loader === undefined ? undefined : lateLoader(loader)];
  const loaders = new Set(own.filter((url) => url !== undefined));
  return [process.execPath, ...[...loaders].flatMap((url) => ['--import', url]), script];
}
