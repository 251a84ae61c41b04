use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use dynamo_runtime::engine::{AsyncEngineContext, AsyncEngineContextProvider, ResponseStream};
use dynamo_runtime::error::DynamoError;
use dynamo_runtime::pipeline::network::{NetworkStreamWrapper, RequestPlanePayloadCodec};
use dynamo_runtime::pipeline::{Context, ManyOut};
use dynamo_runtime::protocols::annotated::Annotated;
use futures::StreamExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::super::testing::{frames_until_end, header, next_frame, pair, write};
use super::{ACCEPTED, Answering, KILL, Meter, SENTINEL, STOP, handshake};
use crate::framed::Framed;
use crate::runtime::handler::Outgoing;

const MSGPACK: RequestPlanePayloadCodec = RequestPlanePayloadCodec::Msgpack;
const FINAL: &[u8] = b"\x81\xaecomplete_final\xc3";

struct Answered {
    caller: TcpStream,
    items: mpsc::UnboundedSender<Outgoing>,
    context: Arc<dyn AsyncEngineContext>,
    task: JoinHandle<()>,
}

/// An answer whose items end with the channel, or when the request is killed, as those of a handler do.
async fn answering(codec: RequestPlanePayloadCodec) -> Answered {
    let (worker, caller) = pair().await;
    let context = Context::new(()).context();
    let (items, receiver) = mpsc::unbounded_channel();
    let killed = context.clone();
    let stream = UnboundedReceiverStream::new(receiver).take_until(Box::pin(async move { killed.killed().await }));
    let stream: ManyOut<Outgoing> = ResponseStream::new(Box::pin(stream), context.clone());
    let task = tokio::spawn(async move {
        Answering::new(worker, "subject", stream, codec, &Meter::default()).run().await.unwrap();
    });
    Answered { caller, items, context, task }
}

fn value(byte: u8) -> Outgoing {
    Outgoing::Data(Framed::value(&[byte]))
}

async fn ended(task: JoinHandle<()>) {
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the answer ends").unwrap();
}

#[tokio::test]
async fn sends_the_whole_answer_and_waits_for_the_caller_to_close() {
    let Answered { mut caller, items, task, .. } = answering(MSGPACK).await;
    for byte in 0..3 {
        items.send(value(byte)).unwrap();
    }
    drop(items);
    ended(task).await;
    let mut buffer = BytesMut::new();
    assert_eq!(next_frame(&mut caller, &mut buffer).await.header, handshake("subject"));
    assert_eq!(next_frame(&mut caller, &mut buffer).await, header(ACCEPTED));
    for byte in 0..3 {
        assert_eq!(next_frame(&mut caller, &mut buffer).await.data, Framed::value(&[byte]).frame());
    }
    assert_eq!(next_frame(&mut caller, &mut buffer).await.data, FINAL);
    assert_eq!(next_frame(&mut caller, &mut buffer).await, header(SENTINEL));
    let more = tokio::time::timeout(Duration::from_millis(50), frames_until_end(&mut caller)).await;
    assert!(more.is_err(), "the worker closed first");
}

#[tokio::test]
async fn sends_a_failure_as_the_last_item() {
    let Answered { mut caller, items, task, .. } = answering(MSGPACK).await;
    items.send(Outgoing::Failed(DynamoError::msg("broken"))).unwrap();
    ended(task).await;
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for _ in 0..5 {
        frames.push(next_frame(&mut caller, &mut buffer).await);
    }
    let failed: NetworkStreamWrapper<Annotated<()>> = MSGPACK.decode(&frames[2].data).unwrap();
    assert_eq!(failed.data.unwrap().error.unwrap().message(), "broken");
    assert_eq!((&frames[3].data[..], &frames[4]), (FINAL, &header(SENTINEL)));
}

#[tokio::test]
async fn sends_items_in_the_codec_of_the_request() {
    let Answered { mut caller, items, task, .. } = answering(RequestPlanePayloadCodec::Json).await;
    items.send(value(7)).unwrap();
    drop(items);
    ended(task).await;
    let mut buffer = BytesMut::new();
    let mut data = Vec::new();
    for _ in 0..5 {
        data.push(next_frame(&mut caller, &mut buffer).await.data);
    }
    assert_eq!(data[2], &br#"{"data":{"data":7},"complete_final":false}"#[..]);
    assert_eq!(data[3], &br#"{"complete_final":true}"#[..]);
}

#[tokio::test]
async fn closes_after_a_stop_and_lets_the_handler_finish() {
    let Answered { mut caller, items, context, task } = answering(MSGPACK).await;
    items.send(value(1)).unwrap();
    let mut buffer = BytesMut::new();
    for _ in 0..3 {
        next_frame(&mut caller, &mut buffer).await;
    }
    write(&mut caller, STOP, b"").await;
    assert_eq!(frames_until_end(&mut caller).await, []);
    assert!(context.is_stopped() && !context.is_killed());
    assert!(!task.is_finished());
    items.send(value(2)).unwrap();
    ended(task).await;
}

#[tokio::test]
async fn ends_at_a_kill_and_at_a_message_that_is_no_order() {
    for order in [KILL, b"\"sentinel\"", b"{}", b""] {
        let Answered { mut caller, items: _items, context, task } = answering(MSGPACK).await;
        write(&mut caller, order, if order.is_empty() { b"data" } else { b"" }).await;
        ended(task).await;
        assert!(context.is_killed());
    }
}

#[tokio::test]
async fn stops_the_handler_if_the_caller_has_left_without_notice() {
    let Answered { caller, items, context, task } = answering(MSGPACK).await;
    drop(caller);
    while !task.is_finished() {
        let _ = items.send(value(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ended(task).await;
    assert!(context.is_stopped());
}

#[tokio::test]
async fn takes_no_more_items_than_there_is_space_for() {
    let (worker, mut caller) = pair().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    // Far more than the buffers of the kernel.
    let items = futures::stream::iter(0..256).map(move |_| {
        counter.fetch_add(1, Relaxed);
        Outgoing::Data(Framed::value(&vec![0xc0; 1 << 20]))
    });
    let items: ManyOut<Outgoing> = ResponseStream::new(Box::pin(items), Context::new(()).context());
    let task = tokio::spawn(async move {
        Answering::new(worker, "subject", items, MSGPACK, &Meter::default()).run().await.unwrap();
    });
    let mut before = usize::MAX;
    while before != taken.load(Relaxed) || before == 0 {
        before = taken.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < 128, "{before} of 256 items were taken, and none was read");
    let mut buffer = BytesMut::new();
    for _ in 0..2 + 256 + 2 {
        next_frame(&mut caller, &mut buffer).await;
    }
    ended(task).await;
}
