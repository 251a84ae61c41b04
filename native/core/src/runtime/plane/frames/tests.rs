use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use dynamo_runtime::pipeline::network::codec::{TwoPartCodec, TwoPartMessage};
use futures::task::noop_waker_ref;
use tokio::io::AsyncWrite;

use super::{Frame, HEAD_BYTES, MAX_HEADER_BYTES, Outbox, UNLIMITED, frame_of, framed};

fn take_frame(buffer: &mut BytesMut) -> std::io::Result<Option<Frame>> {
    super::take_frame(buffer, UNLIMITED)
}

fn head(header: u64, data: u64) -> Vec<u8> {
    [header, data, 0].iter().flat_map(|length| length.to_be_bytes()).collect()
}

fn frame(header: &'static str, data: &'static str) -> Frame {
    Frame { header: Bytes::from_static(header.as_bytes()), data: Bytes::from_static(data.as_bytes()) }
}

/// Takes at most `step` bytes a write, and refuses every second write.
struct Slow {
    written: Vec<u8>,
    step: usize,
    is_ready: bool,
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.is_ready = !self.is_ready;
        if !self.is_ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = bytes.len().min(self.step);
        self.written.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn writes_frames_as_the_crates_read_them() {
    let codec = TwoPartCodec::default();
    for (header, data) in [("{}", "data"), ("{}", ""), ("", "data"), ("", "")] {
        let message = codec.decode_message(framed(header.as_bytes(), data.as_bytes())).unwrap();
        assert_eq!((&message.header[..], &message.data[..]), (header.as_bytes(), data.as_bytes()));
    }
}

#[test]
fn reads_frames_as_the_crates_write_them() {
    let codec = TwoPartCodec::default();
    let message = TwoPartMessage::from_parts(Bytes::from_static(b"{}"), Bytes::from_static(b"data"));
    let bytes = codec.encode_message(message).unwrap();
    assert_eq!(frame_of(&bytes), Some(frame("{}", "data")));
    assert_eq!(take_frame(&mut BytesMut::from(&bytes[..])).unwrap(), Some(frame("{}", "data")));
}

#[test]
fn takes_a_frame_only_when_all_of_it_is_there() {
    let whole = framed(b"head", b"data");
    for length in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..length]);
        assert_eq!(take_frame(&mut part).unwrap(), None);
        assert_eq!(part.len(), length);
        assert_eq!(frame_of(&whole.slice(..length)), None);
    }
}

#[test]
fn leaves_the_bytes_after_a_frame() {
    let mut buffer = BytesMut::from(&framed(b"", b"one")[..]);
    buffer.extend_from_slice(&framed(b"two", b""));
    assert_eq!(take_frame(&mut buffer).unwrap(), Some(frame("", "one")));
    assert_eq!(take_frame(&mut buffer).unwrap(), Some(frame("two", "")));
    assert!(buffer.is_empty());
}

#[test]
fn refuses_lengths_that_no_frame_has() {
    for (header, data) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (MAX_HEADER_BYTES as u64 + 1, 0)] {
        let bytes = head(header, data);
        assert!(take_frame(&mut BytesMut::from(&bytes[..])).is_err());
        assert_eq!(frame_of(&bytes.into()), None);
    }
}

#[test]
fn refuses_a_frame_beyond_the_limit() {
    let whole = framed(b"head", b"data");
    for (limit, is_taken) in [(whole.len(), true), (whole.len() - 1, false)] {
        assert_eq!(super::take_frame(&mut BytesMut::from(&whole[..]), limit).is_ok(), is_taken);
    }
}

#[test]
fn reserves_no_memory_for_a_length_that_is_only_announced() {
    let mut buffer = BytesMut::from(&head(0, 1 << 40)[..]);
    assert_eq!(take_frame(&mut buffer).unwrap(), None);
    assert!(buffer.capacity() < 256 << 20);
}

#[test]
fn writes_small_and_large_frames_in_order_whatever_the_socket_takes() {
    let large = Bytes::from(vec![7; 20_000]);
    for step in [1, 5, 4096, 1 << 20] {
        let (mut outbox, mut expected) = (Outbox::default(), Vec::new());
        for data in [Bytes::from_static(b"a"), large.clone(), Bytes::new(), large.clone(), Bytes::from_static(b"z")] {
            expected.extend_from_slice(&framed(b"", &data));
            outbox.push_data(data);
        }
        outbox.push_header(b"end");
        expected.extend_from_slice(&framed(b"end", b""));
        assert_eq!(outbox.queued(), expected.len());
        let mut socket = Slow { written: Vec::new(), step, is_ready: false };
        let mut cx = Context::from_waker(noop_waker_ref());
        while outbox.poll_write(&mut socket, &mut cx).is_pending() {}
        assert!(socket.written == expected, "step {step}");
        assert_eq!((outbox.queued(), outbox.has_remaining()), (0, false));
    }
}

#[test]
fn counts_a_head_for_each_frame() {
    let mut outbox = Outbox::default();
    outbox.push_header(b"{}");
    outbox.push_data(Bytes::new());
    assert_eq!(outbox.queued(), 2 * HEAD_BYTES + 2);
}
