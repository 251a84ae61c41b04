//! An item of an answer inside its wire frame, in MessagePack. The frame is written together with the copy of the
//! caller's item, so a large item is not copied a second time.

use bytes::Bytes;

/// The start of `{data: {data: X}, complete_final: false}` for a value X.
pub const VALUE_HEAD: &[u8] = b"\x82\xa4data\x81\xa4data";
/// The same for an item with annotations, which already is the inner map.
const ANNOTATED_HEAD: &[u8] = b"\x82\xa4data";
pub const TAIL: &[u8] = b"\xaecomplete_final\xc2";

#[derive(Debug)]
pub struct Framed {
    frame: Bytes,
    head: usize,
}

impl Framed {
    pub fn value(item: &[u8]) -> Self {
        Self::around(VALUE_HEAD, item)
    }

    pub fn annotated(item: &[u8]) -> Self {
        Self::around(ANNOTATED_HEAD, item)
    }

    fn around(head: &[u8], item: &[u8]) -> Self {
        let mut frame = Vec::with_capacity(head.len() + item.len() + TAIL.len());
        for part in [head, item, TAIL] {
            frame.extend_from_slice(part);
        }
        Self { frame: frame.into(), head: head.len() }
    }

    pub fn len(&self) -> usize {
        self.frame.len()
    }

    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// The item, as the caller passed it.
    pub fn item(&self) -> Bytes {
        self.frame.slice(self.head..self.frame.len() - TAIL.len())
    }
}

#[cfg(test)]
mod tests;
