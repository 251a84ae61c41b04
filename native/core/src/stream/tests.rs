use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dynamo_runtime::engine::AsyncEngineContextProvider;
use dynamo_runtime::pipeline::Context;
use futures::StreamExt;

use super::{Cancel, ENDED, FAILED, Item, Items, MORE, PullStream};
use crate::failure::Failure;

struct Batch {
    state: u8,
    /// The kind and the bytes of each.
    items: Vec<(u8, Vec<u8>)>,
    rest: Vec<u8>,
}

impl Batch {
    fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (mut at, mut items) = (5, Vec::new());
        for _ in 0..word(1) {
            let end = at + 5 + word(at + 1);
            items.push((bytes[at], bytes[at + 5..end].to_vec()));
            at = end;
        }
        Self { state: bytes[0], items, rest: bytes[at..].to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        self.items.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

async fn pull(stream: &PullStream, min: usize, max: usize, max_bytes: usize) -> Batch {
    Batch::decode(&stream.pull(min, max, max_bytes).await.unwrap().into_bytes())
}

fn value(byte: u8) -> Result<Item, Failure> {
    Ok(Item::Data(Bytes::from(vec![byte])))
}

fn values(count: u8) -> Items {
    Box::pin(futures::stream::iter((0..count).map(value)))
}

#[tokio::test]
async fn returns_at_most_the_items_that_a_pull_wants() {
    let stream = PullStream::new(values(3));
    let first = pull(&stream, 1, 2, 1024).await;
    assert_eq!((first.state, first.bytes()), (MORE, vec![0, 1]));
    let second = pull(&stream, 1, 2, 1024).await;
    assert_eq!((second.state, second.bytes()), (ENDED, vec![2]));
}

#[tokio::test]
async fn stops_at_the_bytes_that_a_pull_wants() {
    let stream = PullStream::new(values(3));
    assert_eq!(pull(&stream, 1, 10, 6).await.bytes(), [0]);
}

#[tokio::test]
async fn waits_for_the_items_that_a_pull_needs() {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let stream = PullStream::new(Box::pin(receiver));
    let waiting = tokio::spawn({
        let stream = stream.clone();
        async move { pull(&stream, 2, 10, 1024).await }
    });
    sender.unbounded_send(value(0)).unwrap();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    sender.unbounded_send(value(1)).unwrap();
    let batch = waiting.await.unwrap();
    assert_eq!((batch.state, batch.bytes()), (MORE, vec![0, 1]));
}

#[tokio::test]
async fn reports_a_failure_after_the_last_item() {
    let stream = PullStream::new(Box::pin(futures::stream::iter([value(0), Err(Failure::internal("broken"))])));
    let batch = pull(&stream, 1, 10, 1024).await;
    assert_eq!((batch.state, batch.bytes()), (FAILED, vec![0]));
    assert_eq!(rmp_serde::from_slice::<Failure>(&batch.rest).unwrap().message, "broken");
    assert_eq!(pull(&stream, 1, 10, 1024).await.state, ENDED);
}

#[tokio::test]
async fn marks_annotated_items() {
    let item = Ok(Item::Annotated { bytes: vec![0x80], data: false });
    let batch = pull(&PullStream::new(Box::pin(futures::stream::iter([item]))), 1, 10, 1024).await;
    assert_eq!(batch.items, [(1, vec![0x80])]);
}

#[tokio::test]
async fn drops_its_items_when_it_is_killed() {
    let held = Arc::new(());
    let kept = held.clone();
    let stream = PullStream::new(Box::pin(futures::stream::pending().map(move |()| {
        let _ = &kept;
        value(0)
    })));
    let waiting = tokio::spawn({
        let stream = stream.clone();
        async move { pull(&stream, 1, 10, 1024).await.state }
    });
    tokio::task::yield_now().await;
    stream.kill();
    assert_eq!(waiting.await.unwrap(), ENDED);
    assert_eq!(Arc::strong_count(&held), 1);
}

/// A stream that notes whether its request was sent.
fn opening(sent: &Arc<AtomicBool>, cancel: Cancel) -> Arc<PullStream> {
    let sent = sent.clone();
    let opening = async move {
        sent.store(true, Ordering::Relaxed);
        Ok(values(1))
    };
    PullStream::opening(opening, cancel, None, true)
}

#[tokio::test]
async fn sends_its_request_on_the_first_pull() {
    let sent = Arc::new(AtomicBool::new(false));
    let stream = opening(&sent, Cancel::new(Context::new(()).context()));
    tokio::task::yield_now().await;
    assert!(!sent.load(Ordering::Relaxed));
    assert_eq!(pull(&stream, 1, 10, 1024).await.bytes(), [0]);
    assert!(sent.load(Ordering::Relaxed));
}

#[tokio::test]
async fn never_sends_a_request_that_was_stopped_before_the_first_pull() {
    let (sent, context) = (Arc::new(AtomicBool::new(false)), Context::new(()).context());
    let stream = opening(&sent, Cancel::new(context.clone()));
    stream.stop().unwrap();
    assert_eq!(pull(&stream, 1, 10, 1024).await.state, ENDED);
    assert!(!sent.load(Ordering::Relaxed));
    assert!(context.is_killed());
}

#[tokio::test]
async fn ends_a_unary_answer_at_the_second_value() {
    let stream = PullStream::new(values(5));
    let batch = Batch::decode(&stream.answer().await.into_bytes());
    assert_eq!((batch.state, batch.bytes()), (ENDED, vec![0, 1]));
}

#[tokio::test]
async fn keeps_one_item_without_data_in_a_unary_answer() {
    let notice = || Ok(Item::Annotated { bytes: vec![0x80], data: false });
    let items = [notice(), notice(), value(7), notice()];
    let batch = Batch::decode(&PullStream::new(Box::pin(futures::stream::iter(items))).answer().await.into_bytes());
    assert_eq!(batch.items, [(1, vec![0x80]), (0, vec![7])]);
}
