use futures::{FutureExt, StreamExt, stream};

use super::*;

const SILENCE: Duration = Duration::from_millis(50);

#[derive(Debug, PartialEq)]
enum Sent {
    Item,
    Empty,
}

#[tokio::test]
async fn a_silent_answer_sends_an_empty_frame_after_each_time_of_silence() {
    let mut checked = CallerChecked::new(stream::pending(), SILENCE, || Sent::Empty);
    let start = Instant::now();
    for count in 1..=3 {
        assert_eq!(checked.next().await, Some(Sent::Empty));
        assert!(start.elapsed() >= SILENCE * count);
    }
}

#[tokio::test]
async fn an_answer_that_sends_items_sends_no_empty_frame_until_it_is_silent() {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let mut checked = CallerChecked::new(receiver, SILENCE, || Sent::Empty);
    assert_eq!(checked.next().now_or_never(), None);
    let mut last = Instant::now();
    for _ in 0..8 {
        tokio::time::sleep(SILENCE / 4).await;
        sender.unbounded_send(Sent::Item).unwrap();
        assert_eq!(checked.next().await, Some(Sent::Item));
        last = Instant::now();
    }
    assert_eq!(checked.next().await, Some(Sent::Empty));
    assert!(last.elapsed() >= SILENCE);
    drop(sender);
    assert_eq!(checked.next().await, None);
}
