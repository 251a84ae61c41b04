// Prints the places that the loader searches for the library. Usage: search.ts [WORKING_FOLDER]
import { loadNixl, NixlLoadError } from 'dynamo-node';

process.chdir(process.argv[2] ?? '.');
let places: string[] = [];
try {
  places = [loadNixl({ mode: 'real' }).path];
} catch (error) {
  if (!(error instanceof NixlLoadError)) throw error;
  places = error.tried.map(({ path }) => path);
}
console.log(JSON.stringify({ event: 'searched', places }));
