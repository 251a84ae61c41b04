use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dynamo_runtime::engine::AsyncEngineContextProvider;
use dynamo_runtime::pipeline::Context;
use futures::executor::block_on;
use futures::{FutureExt, StreamExt};

use super::{Event, Inbox, MAX_BATCH, MAX_METADATA_BYTES, MAX_METADATA_ENTRIES, QueueLimits, Request, encode};
use crate::abi::Failure;
use crate::packed::Packed;
use crate::sink::{Sent, Sink};

fn inbox() -> Arc<Inbox> {
    Inbox::new(1024)
}

fn grant(inbox: &Inbox, credits: u64) {
    inbox.grant(credits);
}

/// The events that an accept with these credits would complete with.
fn take(inbox: &Inbox, credits: u64) -> Vec<Event> {
    grant(inbox, credits);
    inbox.queue.lock().take()
}

fn cancelled(event: &Event) -> Option<(u64, &'static str)> {
    match event {
        Event::Cancelled { id, kind } => Some((*id, *kind)),
        Event::Request { .. } => None,
    }
}

fn sink_of(event: &Event) -> Arc<Sink> {
    match event {
        Event::Request { sink, .. } => sink.clone(),
        Event::Cancelled { .. } => panic!("not a request"),
    }
}

#[test]
fn delivers_requests_in_order_up_to_the_credits() {
    let inbox = inbox();
    let _answers: Vec<_> = (0..3).map(|_| inbox.send(Request::new("request", "")).unwrap()).collect();
    assert!(!inbox.queue.lock().ready());
    assert_eq!(take(&inbox, 2).iter().map(Event::id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(take(&inbox, 0).len(), 0);
    assert_eq!(take(&inbox, 5).iter().map(Event::id).collect::<Vec<_>>(), [3]);
    assert_eq!(inbox.queue.lock().credits, 4);
}

#[test]
fn bounds_a_batch_of_requests() {
    let inbox = inbox();
    let answers: Vec<_> = (0..=MAX_BATCH).map(|_| inbox.send(Request::new("request", "")).unwrap()).collect();
    assert_eq!(take(&inbox, 2 * MAX_BATCH).len() as u64, MAX_BATCH);
    assert_eq!(take(&inbox, 0).len(), 1);
    drop(answers);
}

#[test]
fn withdraws_a_request_that_was_not_delivered() {
    let inbox = inbox();
    drop(inbox.send(Request::new("request", "")).unwrap());
    assert!(take(&inbox, 1).is_empty());
}

#[test]
fn reports_a_dropped_answer_as_killed_without_a_credit() {
    let inbox = inbox();
    let answer = inbox.send(Request::new("request", "")).unwrap();
    assert_eq!(take(&inbox, 1).len(), 1);
    drop(answer);
    assert!(inbox.queue.lock().ready());
    assert_eq!(cancelled(&take(&inbox, 0)[0]), Some((1, "killed")));
}

#[test]
fn reports_the_stop_of_a_caller_and_lets_the_handler_finish() {
    let (inbox, context) = (inbox(), Context::new(()).context());
    let request = Request { context: Some(context.clone()), ..Request::new("request", "") };
    let mut answer = inbox.send(request).unwrap();
    let events = take(&inbox, 1);
    context.stop();
    assert!(answer.next().now_or_never().is_none());
    assert_eq!(cancelled(&take(&inbox, 0)[0]), Some((1, "stopped")));
    sink_of(&events[0]).end(None);
    assert!(matches!(answer.next().now_or_never(), Some(Some(Sent::Ended))));
}

#[test]
fn ends_the_answer_of_a_killed_caller() {
    let (inbox, context) = (inbox(), Context::new(()).context());
    let request = Request { context: Some(context.clone()), ..Request::new("request", "") };
    let mut answer = inbox.send(request).unwrap();
    take(&inbox, 1);
    context.kill();
    assert!(matches!(answer.next().now_or_never(), Some(None)));
    assert_eq!(cancelled(&take(&inbox, 0)[0]), Some((1, "killed")));
}

#[test]
fn reports_nothing_after_an_answer_has_ended() {
    let inbox = inbox();
    let mut answer = inbox.send(Request::new("request", "")).unwrap();
    sink_of(&take(&inbox, 1)[0]).end(None);
    assert!(matches!(answer.next().now_or_never(), Some(Some(Sent::Ended))));
    drop(answer);
    assert!(!inbox.queue.lock().ready());
}

#[tokio::test]
async fn returns_the_value_of_a_call() {
    let inbox = inbox();
    let mut call = Box::pin(inbox.call(Request::new("start", "")));
    assert!(call.as_mut().now_or_never().is_none());
    let sink = sink_of(&take(&inbox, 1)[0]);
    sink.write(Sent::Data(crate::framed::Framed::value(b"\x07")));
    sink.end(None);
    assert_eq!(call.await.unwrap().unwrap(), &b"\x07"[..]);
}

#[tokio::test]
async fn refuses_requests_when_it_is_closed_and_fails_those_that_wait() {
    let inbox = inbox();
    let mut answer = inbox.send(Request::new("request", "")).unwrap();
    inbox.close();
    assert!(matches!(answer.next().await, Some(Sent::Failed(failure)) if failure.class == "Unavailable"));
    assert!(inbox.send(Request::new("request", "")).is_err());
}

/// Kind, id, method, request id, metadata, payload, number of handles.
type EncodedRequest = (u8, u64, String, String, BTreeMap<String, String>, Packed, u64);

#[test]
fn encodes_requests_and_cancellations() {
    let inbox = inbox();
    let metadata = [("key".to_string(), "value".to_string())].into();
    let _answer = inbox.send(Request { metadata, ..Request::new("request", "\x07") }).unwrap();
    let mut events = take(&inbox, 1);
    events.push(Event::Cancelled { id: 9, kind: "stopped" });
    let (request, cancellation): (EncodedRequest, (u8, u64, String)) =
        rmp_serde::from_slice(&encode(events).into_bytes()).unwrap();
    let (kind, id, method, request_id, metadata, payload, handles) = request;
    assert_eq!((kind, id, method.as_str(), request_id.as_str(), handles), (0, 1, "request", "", 1));
    assert_eq!(metadata, [("key".to_string(), "value".to_string())].into());
    assert_eq!(payload.0, &b"\xc4\x01\x07"[..]);
    assert_eq!(cancellation, (1, 9, "stopped".to_string()));
}

fn limited(requests: u64, bytes: u64) -> (Arc<Inbox>, prometheus::IntCounter) {
    let refused = prometheus::IntCounter::new("refused", "refused").unwrap();
    (Inbox::limited(1024, QueueLimits { requests, bytes }, refused.clone()), refused)
}

#[test]
fn refuses_requests_beyond_the_limit_of_waiting_ones() {
    let (inbox, refused) = limited(2, 1 << 20);
    grant(&inbox, 1);
    let answers: Vec<_> = (0..3).map(|_| inbox.send(Request::new("request", "")).unwrap()).collect();
    let failure = inbox.send(Request::new("request", "")).err().unwrap();
    assert_eq!((failure.class.as_str(), failure.reason.as_str()), ("CapacityExhausted", "capacity.worker_overloaded"));
    assert_eq!(refused.get(), 1);
    // A delivered or withdrawn request makes space for another.
    assert_eq!(inbox.queue.lock().take().len(), 1);
    assert!(inbox.send(Request::new("request", "")).is_err());
    drop(answers);
    assert!(inbox.send(Request::new("request", "")).is_ok());
}

#[test]
fn refuses_requests_beyond_the_limit_of_waiting_bytes() {
    let (inbox, refused) = limited(100, 1000);
    let first = inbox.send(Request::new("request", vec![0; 500])).unwrap();
    assert!(inbox.send(Request::new("request", vec![0; 500])).is_err());
    assert_eq!(refused.get(), 1);
    drop(first);
    assert_eq!(inbox.queue.lock().waiting_bytes, 0);
    let _second = inbox.send(Request::new("request", vec![0; 500])).unwrap();
    assert_eq!(take(&inbox, 1).len(), 1);
    assert_eq!(inbox.queue.lock().waiting_bytes, 0);
    // With a free credit a request does not wait, so its size does not matter.
    grant(&inbox, 1);
    assert!(inbox.send(Request::new("request", vec![0; 5000])).is_ok());
}

#[test]
fn delivers_calls_without_a_credit_and_never_refuses_them() {
    let (inbox, _) = limited(1, 1000);
    let _waiting = inbox.send(Request::new("generate", "")).unwrap();
    let call = || Request { uses_credit: false, ..Request::new("drain", vec![0; 5000]) };
    let _answers: Vec<_> = (0..3).map(|_| inbox.send(call()).unwrap()).collect();
    assert!(inbox.queue.lock().ready());
    assert_eq!(take(&inbox, 0).iter().map(Event::id).collect::<Vec<_>>(), [2, 3, 4]);
    drop(inbox.send(call()).unwrap());
    assert!(take(&inbox, 0).is_empty());
    assert_eq!(take(&inbox, 1).len(), 1);
}

/// A request whose metadata has `count` entries of `size` bytes.
fn with_metadata(count: usize, size: usize) -> Request {
    let metadata = (0..count).map(|at| (format!("{at:04}"), "x".repeat(size - 4))).collect();
    Request { metadata, ..Request::new("request", "") }
}

#[test]
fn accepts_metadata_up_to_both_limits() {
    let inbox = inbox();
    assert!(inbox.send(with_metadata(MAX_METADATA_ENTRIES, MAX_METADATA_BYTES / MAX_METADATA_ENTRIES)).is_ok());
}

#[test]
fn refuses_more_metadata_as_an_invalid_request() {
    let inbox = inbox();
    for request in [with_metadata(MAX_METADATA_ENTRIES + 1, 4), with_metadata(1, MAX_METADATA_BYTES + 1)] {
        assert_eq!(inbox.send(request).err().unwrap().class, "InvalidRequest");
    }
    assert!(take(&inbox, 1).is_empty());
}

/// Callers that wait for their answers, and others that go away.
fn call_from_a_thread(inbox: &Arc<Inbox>, count: usize) -> usize {
    let mut ended = 0;
    for index in 0..count {
        let context = Context::new(()).context();
        let request = Request { context: Some(context.clone()), ..Request::new("request", "") };
        let Ok(mut answer) = inbox.send(request) else { break };
        match index % 4 {
            0 => drop(answer),
            1 => context.kill(),
            _ => {
                let items: Vec<Sent> = block_on(answer.by_ref().take(2).collect());
                let is_whole = matches!(items.as_slice(), [Sent::Data(_), Sent::Ended]);
                let refused = |failure: &Failure| failure.class == "Unavailable";
                assert!(is_whole || matches!(items.as_slice(), [.., Sent::Failed(failure)] if refused(failure)));
                ended += 1;
            }
        }
    }
    ended
}

#[test]
fn ends_each_call_while_threads_call_answer_and_close() {
    const CALLERS: usize = 3;
    let count = if cfg!(miri) { 12 } else { 2_000 };
    for closes in [false, true] {
        let inbox = inbox();
        let (done, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let host = || {
            let mut accepted = 0;
            while done.load(Ordering::Acquire) < CALLERS {
                for event in take(&inbox, 8) {
                    let Event::Request { id: _, request: _, sink } = event else { continue };
                    sink.write(Sent::Data(crate::framed::Framed::value(b"\x07")));
                    sink.end(None);
                    accepted += 1;
                }
                if closes && accepted > count && !closed.swap(true, Ordering::AcqRel) {
                    inbox.close();
                }
                std::thread::yield_now();
            }
        };
        let ended: usize = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(host);
            }
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    scope.spawn(|| {
                        let ended = call_from_a_thread(&inbox, count);
                        done.fetch_add(1, Ordering::AcqRel);
                        ended
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        assert!(if closes { ended > 0 } else { ended == CALLERS * count / 2 });
    }
}
