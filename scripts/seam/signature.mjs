/** The parts of a call, in the order in which a `Takes` line names them. */
export const partNames = ['handle', 'other', 'args', 'payload', 'a', 'b'];

const line = /\bTakes: ([^.]+)\. Returns: (.+?)\.(?=\s|$)/;
const part = /^(\w+) ([\w|]+)(\?)?$/;

/** Writes a signature as the last line of an entry's comment. */
export function takesLine({ parts, returns }) {
  const named = partNames
    .filter((name) => name in parts)
    .map((name) => {
      const { kind, isOptional } = parts[name];
      return `${name} ${kind}${isOptional ? '?' : ''}`;
    });
  return `Takes: ${named.join(', ') || 'nothing'}. Returns: ${returns}.`;
}

/** Reads the signature out of an entry's comment; undefined if it has none, or one that is malformed. */
export function signatureOf(comment) {
  const [, takes, returns] = comment.replace(/\s+/g, ' ').match(line) ?? [];
  if (takes === undefined) return undefined;
  if (takes === 'nothing') return { parts: {}, returns };
  const found = takes.split(', ').map((text) => text.match(part));
  if (found.some((match) => match === null || !partNames.includes(match[1]))) return undefined;
  return {
    parts: Object.fromEntries(found.map(([, name, kind, optional]) => [name, { kind, isOptional: optional === '?' }])),
    returns,
  };
}

const shown = (one) => (one === undefined ? 'nothing' : `${one.kind}${one.isOptional ? '?' : ''}`);

function differenceOf(name, ours, theirs, [us, them]) {
  if (ours?.kind === theirs?.kind && ours?.isOptional === theirs?.isOptional) return [];
  if (ours === undefined || theirs === undefined)
    return [`${name} is in ${ours === undefined ? them : us} and not in ${ours === undefined ? us : them}`];
  if (ours.kind === theirs.kind)
    return [`${name} is optional in ${ours.isOptional ? us : them} and not in ${ours.isOptional ? them : us}`];
  return [`${name} is ${shown(ours)} in ${us} and ${shown(theirs)} in ${them}`];
}

/** In what two signatures of one entry differ. */
export function differences(ours, theirs, sides) {
  const parts = partNames.flatMap((name) => differenceOf(name, ours.parts[name], theirs.parts[name], sides));
  if (ours.returns === theirs.returns) return parts;
  return [...parts, `returns ${ours.returns} in ${sides[0]} and ${theirs.returns} in ${sides[1]}`];
}
