import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file of the page, as it is sent. */
export interface PageFile {
  /** The value of the header `content-type`. */
  readonly type: string;
  readonly body: Buffer;
}

// This module is in lib/dashboard/page or in dist/dashboard/page. Documents are only in the first, programs for the
// browser only in the second.
const packageFolder = fileURLToPath(new URL('../../../', import.meta.url));
const documents = join(packageFolder, 'lib/dashboard/page');
const programs = join(packageFolder, 'dist/dashboard/page/browser');

const HTML = 'text/html; charset=utf-8';
const CSS = 'text/css; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';

const namesIn = async (folder: string, ending: string): Promise<string[]> =>
  (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(ending));

async function programNames(): Promise<string[]> {
  const scripts = await namesIn(programs, '.js');
  if (scripts.length === 0)
    throw new Error(`The page of the dashboard is not built (${programs}): run npm run build:ts`);
  return scripts;
}

/**
 * All files of the page under their paths in a URL. They are read once, so no path of a request reaches the file
 * system.
 */
export async function loadPage(): Promise<ReadonlyMap<string, PageFile>> {
  const charts = dirname(createRequire(import.meta.url).resolve('uplot'));
  const files: readonly (readonly [path: string, file: string, type: string])[] = [
    ['/', join(documents, 'index.html'), HTML],
    ['/favicon.svg', join(documents, 'favicon.svg'), 'image/svg+xml'],
    ['/page/uplot.css', join(charts, 'uPlot.min.css'), CSS],
    ['/page/uplot.js', join(charts, 'uPlot.esm.js'), SCRIPT],
    ...(await namesIn(documents, '.css')).map((name) => [`/page/${name}`, join(documents, name), CSS] as const),
    ...(await programNames()).map((name) => [`/page/${name}`, join(programs, name), SCRIPT] as const),
  ];
  const loaded = files.map(async ([path, file, type]) => [path, { type, body: await readFile(file) }] as const);
  return new Map(await Promise.all(loaded));
}
