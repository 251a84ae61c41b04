use std::sync::Arc;

use futures::{FutureExt, StreamExt};

use super::{ITEM_OVERHEAD_BYTES, Sent, Sink, SinkItems, Written, sink};
use crate::failure::Failure;
use crate::framed::Framed;

fn value(byte: u8) -> Sent {
    Sent::Data(Framed::value(&[byte]))
}

async fn next(items: &mut SinkItems) -> Option<u8> {
    match items.next().await {
        Some(Sent::Data(framed)) => Some(framed.item()[0]),
        _ => None,
    }
}

/// A sink that takes two items.
fn sink_for_two() -> (Arc<Sink>, SinkItems) {
    let item = Framed::value(&[0]).len() + ITEM_OVERHEAD_BYTES;
    sink(2 * item, None)
}

#[tokio::test]
async fn returns_items_in_order_and_then_the_end() {
    let (sink, mut items) = sink(1024, None);
    for byte in 0..3 {
        assert!(matches!(sink.write(value(byte)), Written::Open));
    }
    sink.end(None);
    for byte in 0..3 {
        assert_eq!(next(&mut items).await, Some(byte));
    }
    assert!(matches!(items.next().await, Some(Sent::Ended)));
    assert!(items.next().await.is_none());
}

#[tokio::test]
async fn takes_nothing_while_it_is_full() {
    let (sink, mut items) = sink_for_two();
    sink.write(value(0));
    sink.write(value(1));
    assert!(matches!(sink.write(value(2)), Written::Full));
    assert_eq!(next(&mut items).await, Some(0));
    assert!(matches!(sink.write(value(3)), Written::Open));
    assert_eq!(next(&mut items).await, Some(1));
    assert_eq!(next(&mut items).await, Some(3));
}

#[tokio::test]
async fn is_ready_again_when_half_of_it_is_read() {
    let (sink, mut items) = sink_for_two();
    sink.write(value(0));
    sink.write(value(1));
    let waiting = tokio::spawn({
        let sink = sink.clone();
        async move { sink.ready().await as u8 }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    next(&mut items).await;
    assert_eq!(waiting.await.unwrap(), Written::Open as u8);
}

#[tokio::test]
async fn refuses_items_after_its_end() {
    let (sink, _items) = sink(1024, None);
    sink.end(None);
    assert!(matches!(sink.write(value(0)), Written::Closed));
    assert!(matches!(sink.ready().await, Written::Closed));
}

#[tokio::test]
async fn is_closed_when_its_reader_is_dropped() {
    let (sink, items) = sink_for_two();
    sink.write(value(0));
    sink.write(value(1));
    let mut ready = Box::pin(sink.ready());
    assert!(ready.as_mut().now_or_never().is_none());
    drop(items);
    assert!(matches!(ready.await, Written::Closed));
    assert!(matches!(sink.write(value(2)), Written::Closed));
}

#[tokio::test]
async fn takes_a_failure_although_it_is_full() {
    let (sink, mut items) = sink_for_two();
    sink.write(value(0));
    sink.write(value(1));
    sink.end(Some(Failure::internal("broken")));
    next(&mut items).await;
    next(&mut items).await;
    assert!(matches!(items.next().await, Some(Sent::Failed(failure)) if failure.message == "broken"));
    assert!(items.next().await.is_none());
}

#[tokio::test]
async fn fails_when_it_is_dropped_before_its_end() {
    let (sink, mut items) = sink(1024, None);
    drop(sink);
    assert!(matches!(items.next().await, Some(Sent::Failed(failure)) if failure.class == "Unavailable"));
    assert!(items.next().await.is_none());
}
