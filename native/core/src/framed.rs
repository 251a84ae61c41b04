//! An item of an answer inside the frame that the wire puts around it, in MessagePack. The frame is written as the item is
//! copied from the caller, so that a large item is not copied a second time on its way out.

use bytes::Bytes;

/// `{data: {data: X}, complete_final: false}` around a value X.
const VALUE_HEAD: &[u8] = b"\x82\xa4data\x81\xa4data";
/// The same around an item with annotations, which is a map already.
const ANNOTATED_HEAD: &[u8] = b"\x82\xa4data";
const TAIL: &[u8] = b"\xaecomplete_final\xc2";

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

    /// What the caller gave.
    pub fn item(&self) -> Bytes {
        self.frame.slice(self.head..self.frame.len() - TAIL.len())
    }
}
