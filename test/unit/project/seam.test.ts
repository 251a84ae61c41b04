import { describe, expect, it } from 'vitest';
import { drifts, readSeam, type Seam } from '../../../scripts/seam.mjs';

const takes =
  'Takes: handle box, other lid?, args bytes, payload u32s?, a count, b limit?. Returns: handle key or nothing.';

const entry = (name: string, body: string, comment = takes) => `
/// Fills a box.
/// ${comment}
#[unsafe(no_mangle)]
pub extern "C" fn ${name}(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| ${body})
}
`;

const helper = `
fn amounts(call: &Call) -> Result<u64, Failure> {
    Ok(call.a() + call.b())
}
`;

/** A seam of one entry of the core and one of NIXL, in which everything agrees. */
const agreeing: Seam = {
  typescript: [
    `export interface BoxNative {
       boxFill: Sync<
         Handle<'key'> | undefined,
         {
           handle: Handle<'box'>; other?: Handle<'lid'>; args: Bytes; payload?: U32s;
           a: Arg<'count'>; b?: Arg<'limit'>;
         }
       >;
       nixlBoxSend: Async<[Bytes, Handle<'key'>?, ...Handle<'lid'>[]], { handle: Handle<'nixlBox' | 'nixlLid'> }>;
       open(): void;
     }`,
  ],
  header: `// Fills a box.\n// ${takes}\ndyn_reply dyn_box_fill(const dyn_call *call);\n`,
  nixlHeader:
    '// Takes: handle nixlBox|nixlLid. Returns: bytes, handle key?, handle lid....\n' +
    'void box_send(const Call& call, TaskRef operation);\n',
  bindings: [
    '{"boxFill", dyn_box_fill, nullptr},\n{"nixlBoxSend", nullptr, nixl::box_send},\nexports.Set("open", open);',
  ],
  rust: [
    {
      file: 'box.rs',
      text:
        helper +
        entry(
          'dyn_box_fill',
          'fill(call.handle::<Box>()?, call.other::<Lid>()?, call.args()?, call.payload(), amounts(call))',
        ),
    },
  ],
  nixl: [
    {
      file: 'box.cc',
      text: 'void box_send(const Call& call, TaskRef operation) {\n  object_as<Box>(call.handle);\n}\n',
    },
  ],
};

type Text = 'typescript' | 'header' | 'nixlHeader' | 'bindings' | 'rust' | 'nixl';

/** The drifts after replacing text on some sides. */
function driftsAfter(find: string, replacement: string, ...sides: Text[]): string[] {
  const replaced = (value: unknown): unknown => {
    if (typeof value === 'string') return value.replace(find, replacement);
    if (Array.isArray(value)) return value.map(replaced);
    return { ...(value as object), text: replaced((value as { text: string }).text) };
  };
  const changed = Object.fromEntries(sides.map((side) => [side, replaced(agreeing[side])]));
  expect(changed).not.toEqual(Object.fromEntries(sides.map((side) => [side, agreeing[side]])));
  return drifts({ ...agreeing, ...changed });
}

describe('the native seam', () => {
  it('has no drift in this checkout', () => {
    expect(drifts(readSeam())).toEqual([]);
  });

  it('has no drift if every side agrees', () => {
    expect(drifts(agreeing)).toEqual([]);
  });

  it.each<[what: string, find: string, replacement: string, sides: Text[], drift: string]>([
    [
      'a function that TypeScript lacks',
      'boxFill:',
      'boxEmpty:',
      ['typescript'],
      'boxFill: lib/addon/native does not declare it',
    ],
    [
      'a function that no table has',
      'boxFill:',
      'boxEmpty:',
      ['typescript'],
      'boxEmpty: native/binding does not export it',
    ],
    [
      'an export that TypeScript lacks',
      'open()',
      'close()',
      ['typescript'],
      'open: lib/addon/native does not declare it',
    ],
    [
      'a function without a type of the seam',
      'boxFill: Sync<',
      'boxFill(): void; boxFull: Sync<',
      ['typescript'],
      'boxFill: expected a Sync or an Async type in lib/addon/native',
    ],
    [
      'an entry that no header declares',
      'dyn_box_fill',
      'dyn_box_full',
      ['header', 'rust'],
      'boxFill: no header declares dyn_box_fill',
    ],
    [
      'an entry that the binding does not use',
      'dyn_box_fill',
      'dyn_box_full',
      ['header', 'rust'],
      'dyn_box_full: native/binding does not use it',
    ],
    ['an entry that no source defines', 'box_send', 'box_post', ['nixl'], 'nixl::box_send: no source defines it'],
    [
      'an entry under another name',
      '"boxFill"',
      '"boxFull"',
      ['bindings'],
      'boxFull: expected the entry dyn_box_full, got dyn_box_fill',
    ],
    [
      'a synchronous type of an asynchronous row',
      'Sync<',
      'Async<',
      ['typescript'],
      'boxFill: synchronous in native/binding, asynchronous in lib/addon/native',
    ],
    [
      'a synchronous entry of an asynchronous row',
      'void box_send',
      'Reply box_send',
      ['nixlHeader'],
      'nixlBoxSend: asynchronous in native/binding, synchronous in the header',
    ],
    [
      'a part that TypeScript lacks',
      "other?: Handle<'lid'>;",
      '',
      ['typescript'],
      'boxFill: other is in dyn_box_fill and not in lib/addon/native',
    ],
    [
      'a part that only TypeScript has',
      "{ handle: Handle<'nixlBox' | 'nixlLid'> }",
      "{ handle: Handle<'nixlBox' | 'nixlLid'>; args: Bytes }",
      ['typescript'],
      'nixlBoxSend: args is in lib/addon/native and not in nixl::box_send',
    ],
    [
      'swapped numbers',
      "a: Arg<'count'>; b?: Arg<'limit'>",
      "a: Arg<'limit'>; b?: Arg<'count'>",
      ['typescript'],
      'boxFill: a is limit in lib/addon/native and count in dyn_box_fill',
    ],
    [
      'another noun',
      "Handle<'box'>",
      "Handle<'bag'>",
      ['typescript'],
      'boxFill: handle is bag in lib/addon/native and box in dyn_box_fill',
    ],
    [
      'another kind of payload',
      'U32s',
      'U64s',
      ['typescript'],
      'boxFill: payload is u64s? in lib/addon/native and u32s? in dyn_box_fill',
    ],
    [
      'a part that is optional in TypeScript only',
      'args: Bytes',
      'args?: Bytes',
      ['typescript'],
      'boxFill: args is optional in lib/addon/native and not in dyn_box_fill',
    ],
    [
      'a part that is optional in the entry only',
      'other?:',
      'other:',
      ['typescript'],
      'boxFill: other is optional in dyn_box_fill and not in lib/addon/native',
    ],
    [
      'another result',
      "Handle<'key'> | undefined",
      'number',
      ['typescript'],
      'boxFill: returns number in lib/addon/native and handle key or nothing in dyn_box_fill',
    ],
    [
      'a comment without the line',
      'Takes: ',
      'It takes ',
      ['header', 'rust'],
      'dyn_box_fill: expected a last line "Takes: ... Returns: ..." in its comment',
    ],
    [
      'a part without a kind',
      'handle box, ',
      'handle, ',
      ['header', 'rust'],
      'dyn_box_fill: expected a last line "Takes: ... Returns: ..." in its comment',
    ],
    [
      'a part that the source reads and the comment lacks',
      ', payload u32s?',
      '',
      ['header', 'rust'],
      'dyn_box_fill: reads payload, which its comment does not name',
    ],
    [
      'a part that a helper of the source reads and the comment lacks',
      ', b limit?',
      '',
      ['header', 'rust'],
      'dyn_box_fill: reads b, which its comment does not name',
    ],
    [
      'a part that the source does not read',
      'call.payload()',
      '()',
      ['rust'],
      'dyn_box_fill: names payload, which it does not read',
    ],
    [
      'a part that the source of NIXL does not read',
      'call.handle',
      'call.other',
      ['nixl'],
      'nixl::box_send: names handle, which it does not read',
    ],
    [
      'a noun of two types',
      'other lid?',
      'other box?',
      ['header', 'rust'],
      'dyn_box_fill: other box is a Lid; in dyn_box_fill it is a Box',
    ],
    [
      'a header that is not generated again',
      'a count',
      'a amount',
      ['rust'],
      'dyn_box_fill: its Takes line differs from the header; run `npm run header`',
    ],
  ])('reports %s', (_, find, replacement, sides, drift) => {
    expect(driftsAfter(find, replacement, ...sides)).toContain(drift);
  });
});
