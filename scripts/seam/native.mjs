const comment = (text = '') => text.replace(/^ *\/{2,3} ?/gm, '');

/** The entries that dynamo_core.h declares. */
export function headerEntries(text) {
  const entry = /((?:^\/\/.*\n)*)^(void|dyn_reply) (dyn_\w+)\(const dyn_call \*call\);/gm;
  return [...text.matchAll(entry)].map(([, says, result, name]) => ({
    name,
    isAsync: result === 'void',
    comment: comment(says),
  }));
}

/** The entries that native/nixl/entries.h declares. */
export function nixlEntries(text) {
  const entry = /((?:^\/\/.*\n)*)^(void|Reply) (\w+)\(const Call& call/gm;
  return [...text.matchAll(entry)].map(([, says, result, name]) => ({
    name: `nixl::${name}`,
    isAsync: result === 'void',
    comment: comment(says),
  }));
}

/** The rows of the tables of a file in native/binding. */
export function tableRows(text) {
  const row = /\{"(\w+)",\s*([\w:]+),\s*([\w:]+)\}/g;
  return [...text.matchAll(row)].map(([, name, sync, async]) => ({
    name,
    entry: sync === 'nullptr' ? async : sync,
    isAsync: sync === 'nullptr',
  }));
}

/** The functions that a file in native/binding exports under their own names, without a table. */
export function singleExports(text) {
  return [...text.matchAll(/(?:exports\.Set|InstanceMethod)\("(\w+)"/g)].map(([, name]) => name);
}

/** How Rust reads each part of a call. */
const rustReads = {
  handle: /\bcall\s*\.(?:handle|handle_ref)\b/,
  other: /\bcall\s*\.(?:other|other_ref|has_other)\b/,
  args: /\bcall\s*\.(?:args|raw_args|has_args)\b/,
  payload: /\bcall\s*\.(?:payload|out)\(/,
  a: /\bcall\s*\.a\(/,
  b: /\bcall\s*\.b\(/,
};

const nixlReads = Object.fromEntries(Object.keys(rustReads).map((name) => [name, new RegExp(`\\bcall\\.${name}\\b`)]));

const rustFunction = /^(?:pub )?(?:extern "C" )?fn (\w+)[^;{]*?\bcall: (?:&Call|&dyn_call)[^{]*\{\n([\s\S]*?)^\}/gm;
const nixlFunction = /^[\w:<>]+ (\w+)\(const Call&[^{;]*\{(?:(.*)\}$|([\s\S]*?)^\})/gm;

/** Every function that takes a call, by file and name, with its body. */
function bodiesOf(files, pattern) {
  const bodies = new Map();
  for (const { file, text } of files)
    for (const [, name, ...body] of text.matchAll(pattern))
      bodies.set(`${file} ${name}`, { file, name, body: body.join('') });
  return bodies;
}

/** The bodies of a function and of the functions that it passes its call to. */
function bodiesFrom({ file, name, body }, bodies, found = new Set()) {
  if (found.has(body)) return found;
  found.add(body);
  for (const [, callee] of body.matchAll(/\b(\w+)\(call\b/g)) {
    const called = bodies.get(`${file} ${callee}`) ?? [...bodies.values()].find((one) => one.name === callee);
    if (called !== undefined && callee !== name) bodiesFrom(called, bodies, found);
  }
  return found;
}

function usesOf(files, { functions, reads, objects, prefix }) {
  const bodies = bodiesOf(files, functions);
  return new Map(
    [...bodies.values()].map((one) => {
      const text = [...bodiesFrom(one, bodies)].join('\n');
      const read = new Set(Object.keys(reads).filter((name) => reads[name].test(text)));
      const types = [...text.matchAll(objects)].map(({ groups: { part, type } }) => ({ part, type }));
      return [`${prefix}${one.name}`, { read, types }];
    }),
  );
}

const rust = {
  functions: rustFunction,
  reads: rustReads,
  objects: /\bcall\s*\.(?<part>handle|other)(?:_ref)?::<(?<type>\w+)>/g,
  prefix: '',
};

const nixl = {
  functions: nixlFunction,
  reads: nixlReads,
  objects: /\bobject_as<(?<type>\w+)>\(call\.(?<part>handle|other)\)/g,
  prefix: 'nixl::',
};

/** By entry, which parts of its call the sources read, and as which types they read its objects. */
export const usesIn = ({ rust: core, nixl: transfers }) => new Map([...usesOf(core, rust), ...usesOf(transfers, nixl)]);

/** The comments of the Rust entries, from which the header's are copied. */
export function rustComments(files) {
  const entry = /((?:^\/\/\/.*\n)*)(?:^#.*\n)+^pub extern "C" fn (dyn_\w+)\(call: &dyn_call\)/gm;
  return new Map(files.flatMap(({ text }) => [...text.matchAll(entry)].map(([, says, name]) => [name, comment(says)])));
}
