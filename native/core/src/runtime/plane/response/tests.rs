use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dynamo_runtime::engine::{AsyncEngineContext, AsyncEngineContextProvider};
use dynamo_runtime::error::ErrorType;
use dynamo_runtime::pipeline::Context;
use dynamo_runtime::pipeline::network::{NetworkStreamWrapper, RequestPlanePayloadCodec};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::protocols::maybe_error::MaybeError;
use futures::{FutureExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::envelope::{KILL, SENTINEL, STOP};
use super::super::frames::framed;
use super::super::home::Arrived;
use super::super::testing::{frames_until_end, header, next_frame, pair, write};
use super::{FINAL, InFlight, Reader, Response, Source};
use crate::framed::Framed;
use crate::packed::Packed;

const MSGPACK: RequestPlanePayloadCodec = RequestPlanePayloadCodec::Msgpack;

async fn response(codec: RequestPlanePayloadCodec) -> (Response, TcpStream, Arc<dyn AsyncEngineContext>) {
    let (caller, worker) = pair().await;
    let context = Context::new(()).context();
    let reader = Reader::new(Arrived { socket: caller, buffer: BytesMut::new() }, &*context);
    let now = Instant::now();
    (Response::new(reader, codec, context.clone(), (now, now), InFlight::begin()), worker, context)
}

async fn send(worker: &mut TcpStream, byte: u8) {
    write(worker, b"", &Framed::value(&[byte]).frame()).await;
}

async fn finish(worker: &mut TcpStream) {
    write(worker, b"", FINAL).await;
    write(worker, SENTINEL, b"").await;
}

fn value(item: Option<Annotated<Packed>>) -> Bytes {
    item.expect("an item").data.expect("a value").0
}

fn message(item: Option<Annotated<Packed>>) -> String {
    item.expect("an item").err().expect("an error").message().to_string()
}

#[tokio::test]
async fn returns_the_items_and_then_the_end() {
    for count in [0, 1, 2, 3, 200] {
        let (mut response, mut worker, _) = response(MSGPACK).await;
        let sent = tokio::spawn(async move {
            for byte in 0..count {
                send(&mut worker, byte % 128).await;
            }
            finish(&mut worker).await;
            frames_until_end(&mut worker).await
        });
        for byte in 0..count {
            assert_eq!(value(response.next().await), [byte % 128][..]);
        }
        assert!(response.next().await.is_none());
        assert!(response.next().await.is_none());
        assert_eq!(sent.await.unwrap(), [], "a worker that has ended gets no order");
    }
}

#[tokio::test]
async fn reads_ahead_after_two_items_and_not_before() {
    let (mut response, mut worker, _) = response(MSGPACK).await;
    for byte in 0..2 {
        assert!(response.next().now_or_never().is_none());
        assert!(matches!(response.source, Source::Read(_)));
        send(&mut worker, byte).await;
        assert_eq!(value(response.next().await), [byte][..]);
    }
    assert!(response.next().now_or_never().is_none());
    assert!(matches!(response.source, Source::Ahead { .. }));
    send(&mut worker, 2).await;
    finish(&mut worker).await;
    // The connection ends without a poll of the response.
    assert_eq!(frames_until_end(&mut worker).await, []);
    assert_eq!(value(response.next().await), [2][..]);
    assert!(response.next().await.is_none());
}

#[tokio::test]
async fn reads_ahead_only_so_far_and_loses_nothing() {
    const ITEM_BYTES: usize = 1 << 20;
    const COUNT: u32 = 96;
    let (mut response, mut worker, _) = response(MSGPACK).await;
    for byte in 0..2 {
        send(&mut worker, byte).await;
        response.next().await;
    }
    assert!(response.next().now_or_never().is_none());
    let item = |index: u32| {
        let bytes = [&index.to_be_bytes()[..], &vec![0; ITEM_BYTES]].concat();
        let mut packed = Vec::new();
        rmp::encode::write_bin(&mut packed, &bytes).unwrap();
        packed
    };
    let written = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = written.clone();
    let writing = tokio::spawn(async move {
        for index in 0..COUNT {
            write(&mut worker, b"", &Framed::value(&item(index)).frame()).await;
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        finish(&mut worker).await;
    });
    let written = || written.load(std::sync::atomic::Ordering::Relaxed);
    let mut before = u32::MAX;
    while before != written() || before == 0 {
        before = written();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < COUNT / 2, "{before} of {COUNT} items of 1 MiB were taken, and none was read");
    for index in 0..COUNT {
        assert!(value(response.next().await) == item(index), "item {index}");
    }
    assert!(response.next().await.is_none());
    writing.await.unwrap();
}

#[tokio::test]
async fn ends_with_an_error_if_the_worker_leaves_before_the_end() {
    for part in [0, 10, 30] {
        let (mut response, mut worker, _) = response(MSGPACK).await;
        send(&mut worker, 1).await;
        let whole = framed(b"", &Framed::value(&[2]).frame());
        worker.write_all(&whole[..part]).await.unwrap();
        drop(worker);
        assert_eq!(value(response.next().await), [1][..]);
        let error = response.next().await.unwrap().err().unwrap();
        assert_eq!(error.error_type(), ErrorType::Disconnected);
        assert!(response.next().await.is_none());
    }
}

#[tokio::test]
async fn forwards_a_stop_and_a_kill_at_once_whether_or_not_it_is_read() {
    let (mut response, mut worker, context) = response(MSGPACK).await;
    let mut buffer = BytesMut::new();
    context.stop_generating();
    assert_eq!(next_frame(&mut worker, &mut buffer).await, header(STOP));
    // After a stop the worker may still finish, or just close.
    send(&mut worker, 1).await;
    assert_eq!(value(response.next().await), [1][..]);
    context.kill();
    context.kill();
    assert_eq!(frames_until_end_after_drop(response, &mut worker).await, [header(KILL)]);
}

async fn frames_until_end_after_drop(
    mut response: Response,
    worker: &mut TcpStream,
) -> Vec<super::super::frames::Frame> {
    assert!(response.next().await.is_none());
    drop(response);
    frames_until_end(worker).await
}

#[tokio::test]
async fn forwards_what_happened_before_the_worker_arrived() {
    for (cancel, word) in [(AsyncEngineContext::stop as fn(&_), STOP), (AsyncEngineContext::kill, KILL)] {
        let (caller, mut worker) = pair().await;
        let context = Context::new(()).context();
        cancel(&*context);
        let _reader = Reader::new(Arrived { socket: caller, buffer: BytesMut::new() }, &*context);
        assert_eq!(next_frame(&mut worker, &mut BytesMut::new()).await, header(word));
    }
}

#[tokio::test]
async fn ends_without_an_error_if_the_worker_closes_after_a_stop() {
    let (mut response, mut worker, context) = response(MSGPACK).await;
    send(&mut worker, 1).await;
    assert_eq!(value(response.next().await), [1][..]);
    context.stop_generating();
    drop(worker);
    assert!(response.next().await.is_none());
}

#[tokio::test]
async fn kills_the_request_if_it_is_dropped_before_the_end() {
    for items in [0, 1, 3] {
        let (mut response, mut worker, _) = response(MSGPACK).await;
        for byte in 0..items {
            send(&mut worker, byte).await;
            response.next().await;
        }
        let is_ahead = response.next().now_or_never().is_none() && matches!(response.source, Source::Ahead { .. });
        assert_eq!(is_ahead, items >= 2);
        drop(response);
        assert_eq!(frames_until_end(&mut worker).await, [header(KILL)]);
    }
}

#[tokio::test]
async fn sends_no_order_if_the_end_is_there_but_was_not_read() {
    let (mut response, mut worker, _) = response(MSGPACK).await;
    let rest = [framed(b"", &Framed::value(&[2]).frame()), framed(b"", FINAL), framed(SENTINEL, b"")].concat();
    worker.write_all(&[framed(b"", &Framed::value(&[1]).frame()).to_vec(), rest].concat()).await.unwrap();
    assert_eq!(value(response.next().await), [1][..]);
    drop(response);
    assert_eq!(frames_until_end(&mut worker).await, []);
}

#[tokio::test]
async fn reports_what_a_worker_must_not_send() {
    let (mut response, mut worker, _) = response(MSGPACK).await;
    for data in [&b"\x82"[..], b"\x81\xaecomplete_final\xc2", b"", FINAL, FINAL] {
        write(&mut worker, b"", data).await;
    }
    write(&mut worker, SENTINEL, b"").await;
    assert!(!message(response.next().await).is_empty());
    assert!(message(response.next().await).starts_with("Empty response received"));
    // The empty frame is skipped.
    assert!(message(response.next().await).starts_with("Response received after generation ended"));
    assert!(response.next().await.is_none());

    for wrong in [KILL, b"{}"] {
        let (mut response, mut worker, _) = super::tests::response(MSGPACK).await;
        write(&mut worker, wrong, b"").await;
        assert_eq!(response.next().await.unwrap().err().unwrap().error_type(), ErrorType::Disconnected);
        drop(response);
        assert_eq!(frames_until_end(&mut worker).await, [header(KILL)]);
    }
}

#[tokio::test]
async fn decodes_both_codecs_and_every_annotation() {
    let item = Annotated { data: Some(vec![1, 2]), id: Some("id".into()), event: None, comment: None, error: None };
    for codec in [MSGPACK, RequestPlanePayloadCodec::Json] {
        let (mut response, mut worker, _) = response(codec).await;
        let wrapped = NetworkStreamWrapper { data: Some(item.clone()), complete_final: false };
        write(&mut worker, b"", &codec.encode(&wrapped).unwrap()).await;
        let last = NetworkStreamWrapper::<()> { data: None, complete_final: true };
        write(&mut worker, b"", &codec.encode(&last).unwrap()).await;
        write(&mut worker, SENTINEL, b"").await;
        let read = response.next().await.unwrap();
        assert_eq!((&read.data.unwrap().0[..], read.id.as_deref()), (&[0x92, 1, 2][..], Some("id")));
        assert!(response.next().await.is_none());
    }
}
