//! The frames of a response connection: `[header length u64][data length u64][checksum u64][header][data]`, big-endian.
//! A frame with a header is a message of the protocol in JSON, a frame with data is an item. Release builds of the
//! crates write 0 as the checksum and read none. Source: dynamo-runtime `pipeline/network/codec/two_part.rs`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{poll_read_buf, poll_write_buf};

pub(super) const HEAD_BYTES: usize = 24;
/// The messages of the protocol take a few hundred bytes. An error may have a long text.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// A limit for frames that have no data.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// The limit of a frame with data: the crates have none.
pub(super) const UNLIMITED: usize = isize::MAX as usize;
/// Memory is reserved for at most this much of a frame that has not arrived. More of it comes with more memory.
const MAX_RESERVED_BYTES: usize = 64 << 20;
/// How much is read at once at least, if there is that much.
pub(super) const READ_BYTES: usize = 16 << 10;
const MIN_SPACE_BYTES: usize = 2 << 10;
/// Data of this size and more is written from where it lies.
const APART_BYTES: usize = 8 << 10;

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub header: Bytes,
    pub data: Bytes,
}

/// The lengths of header and data at the start of `bytes`, which may have less than a frame's head.
fn lengths(mut bytes: &[u8], max_bytes: usize) -> io::Result<Option<(usize, usize)>> {
    if bytes.len() < HEAD_BYTES {
        return Ok(None);
    }
    let (header, data) = (bytes.get_u64(), bytes.get_u64());
    let too_long = || io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {header} and {data} bytes"));
    let (header, data) = (usize::try_from(header).ok(), usize::try_from(data).ok());
    let (Some(header), Some(data)) = (header, data) else { return Err(too_long()) };
    let total = header.checked_add(data).and_then(|length| length.checked_add(HEAD_BYTES));
    match total {
        Some(total) if header <= MAX_HEADER_BYTES && total <= max_bytes => Ok(Some((header, data))),
        _ => Err(too_long()),
    }
}

/// The whole of one frame, without a copy. Bytes after it are ignored, as the crates do.
pub fn frame_of(bytes: &Bytes) -> Option<Frame> {
    let (header, data) = lengths(bytes, UNLIMITED).ok()??;
    let (start, middle) = (HEAD_BYTES, HEAD_BYTES + header);
    let end = middle + data;
    (bytes.len() >= end).then(|| Frame { header: bytes.slice(start..middle), data: bytes.slice(middle..end) })
}

/// Takes a frame of at most `max_bytes` from the front. If it is not complete, makes space for the rest of it.
pub fn take_frame(buffer: &mut BytesMut, max_bytes: usize) -> io::Result<Option<Frame>> {
    let Some((header, data)) = lengths(buffer, max_bytes)? else { return Ok(None) };
    let length = HEAD_BYTES + header + data;
    if buffer.len() < length {
        // With space for the start of the next frame, so that the end of this one never has to move.
        buffer.reserve((length - buffer.len()).min(MAX_RESERVED_BYTES) + READ_BYTES);
        return Ok(None);
    }
    buffer.advance(HEAD_BYTES);
    let header = buffer.split_to(header).freeze();
    Ok(Some(Frame { header, data: buffer.split_to(data).freeze() }))
}

/// Reads what has arrived. Returns 0 at the end of the connection.
pub fn read_more(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if buffer.capacity() - buffer.len() < MIN_SPACE_BYTES {
        buffer.reserve(READ_BYTES);
    }
    poll_read_buf(Pin::new(socket), cx, buffer)
}

fn put_head(out: &mut BytesMut, header: usize, data: usize) {
    out.put_u64(header as u64);
    out.put_u64(data as u64);
    out.put_u64(0);
}

/// One frame in its own memory.
pub fn framed(header: &[u8], data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_BYTES + header.len() + data.len());
    put_head(&mut out, header.len(), data.len());
    out.extend_from_slice(header);
    out.extend_from_slice(data);
    out.freeze()
}

/// Frames that wait to be written. They are written together.
#[derive(Default)]
pub struct Outbox {
    chunks: VecDeque<Bytes>,
    /// The small frames after the last chunk.
    small: BytesMut,
    queued: usize,
}

impl Outbox {
    pub fn push_header(&mut self, header: &[u8]) {
        put_head(&mut self.small, header.len(), 0);
        self.small.extend_from_slice(header);
        self.queued += HEAD_BYTES + header.len();
    }

    pub fn push_data(&mut self, data: Bytes) {
        put_head(&mut self.small, 0, data.len());
        self.queued += HEAD_BYTES + data.len();
        if data.len() < APART_BYTES {
            self.small.extend_from_slice(&data);
        } else {
            self.seal();
            self.chunks.push_back(data);
        }
    }

    /// The bytes that wait.
    pub fn queued(&self) -> usize {
        self.queued
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(self.small.split().freeze());
        }
    }

    /// Completes when all is written.
    pub fn poll_write(&mut self, socket: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.seal();
        while self.has_remaining() {
            if ready!(poll_write_buf(Pin::new(&mut *socket), cx, self))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Of the chunks only: `poll_write` makes all frames chunks first.
impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.queued
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.chunks.len());
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.queued -= count;
        while let Some(front) = self.chunks.front_mut().filter(|_| count > 0) {
            let taken = count.min(front.len());
            front.advance(taken);
            count -= taken;
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests;
