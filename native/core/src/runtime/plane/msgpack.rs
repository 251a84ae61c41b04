//! Checks that bytes are one MessagePack value that every peer reads. Such a value needs no transcoding.

/// The crates read at most 1024 levels. Deeper values are left to them.
const MAX_DEPTH: u32 = 512;

/// Whether `bytes` are exactly one value without extension types. Texts are not checked for UTF-8.
pub fn is_plain(bytes: &[u8]) -> bool {
    skip(bytes, 0, MAX_DEPTH) == Some(bytes.len())
}

/// The end of the value that begins at `at`.
fn skip(bytes: &[u8], at: usize, depth: u32) -> Option<usize> {
    let kind = *bytes.get(at)?;
    let at = at + 1;
    let sized = |width: usize| -> Option<(usize, usize)> {
        let field = bytes.get(at..at + width)?;
        Some((at + width, field.iter().fold(0, |size, &byte| size << 8 | usize::from(byte))))
    };
    let fixed = |length: usize| -> Option<usize> { bytes.get(at..at.checked_add(length)?).map(|_| at + length) };
    let text = |width: usize| -> Option<usize> {
        let (start, length) = sized(width)?;
        let end = start.checked_add(length)?;
        (end <= bytes.len()).then_some(end)
    };
    let many = |(mut at, count): (usize, usize)| -> Option<usize> {
        let depth = depth.checked_sub(1)?;
        for _ in 0..count {
            at = skip(bytes, at, depth)?;
        }
        Some(at)
    };
    match kind {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(at),
        0x80..=0x8f => many((at, 2 * usize::from(kind & 0x0f))),
        0x90..=0x9f => many((at, usize::from(kind & 0x0f))),
        0xa0..=0xbf => fixed(usize::from(kind & 0x1f)),
        0xc4 | 0xd9 => text(1),
        0xc5 | 0xda => text(2),
        0xc6 | 0xdb => text(4),
        0xcc | 0xd0 => fixed(1),
        0xcd | 0xd1 => fixed(2),
        0xca | 0xce | 0xd2 => fixed(4),
        0xcb | 0xcf | 0xd3 => fixed(8),
        0xdc => many(sized(2)?),
        0xdd => many(sized(4)?),
        0xde => sized(2).and_then(|(at, pairs)| many((at, 2 * pairs))),
        0xdf => sized(4).and_then(|(at, pairs)| many((at, 2 * pairs))),
        // The unused byte 0xc1 and the extension types.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
