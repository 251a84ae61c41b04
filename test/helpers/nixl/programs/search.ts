// Prints the places that the loader searches for the library. Usage: search.ts [WORKING_FOLDER]
import { unpack } from '../../../../lib/addon/codec.js';
import { native } from '../../../../lib/addon/invoke.js';
import { loadNixl, NixlLoadError } from '../../../../lib/index.js';

process.chdir(process.argv[2] ?? '.');
const places: string[] = [];
// If the library is installed, a place that is searched in vain is in no result.
const load = native.nixlLibraryLoad;
native.nixlLibraryLoad = (handle, args, ...rest) => {
  places.push(...(unpack(args) as { sitePackages: string[] }).sitePackages);
  return load(handle, args, ...rest);
};
try {
  places.push(loadNixl({ mode: 'real' }).path);
} catch (error) {
  if (!(error instanceof NixlLoadError)) throw error;
  places.push(...error.tried.map(({ path }) => path));
}
console.log(JSON.stringify({ event: 'searched', places }));
