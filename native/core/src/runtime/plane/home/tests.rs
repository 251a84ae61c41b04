use std::net::SocketAddr;
use std::time::Duration;

use dynamo_runtime::discovery::EndpointInstanceId;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::super::envelope::{KILL, handshake};
use super::super::frames::framed;
use super::super::testing::{frames_until_end, header, write};
use super::{MAX_MESSAGE_BYTES, Removed, Slot, Target, accept, instance_added, instance_removed};

async fn home() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener));
    address
}

async fn call_home(address: SocketAddr, subject: &str) -> TcpStream {
    let mut worker = TcpStream::connect(address).await.unwrap();
    write(&mut worker, &handshake(subject), b"").await;
    worker
}

fn instance(instance_id: u64) -> Target {
    let [namespace, component, endpoint] = ["home", "test", "slots"].map(String::from);
    Target { runtime: 7, instance: EndpointInstanceId { namespace, component, endpoint, instance_id } }
}

#[tokio::test]
async fn gives_each_request_the_connection_of_its_worker() {
    let address = home().await;
    let slots: Vec<Slot> = (0..8).map(|_| Slot::new(None).unwrap()).collect();
    let mut workers = Vec::new();
    for slot in slots.iter().rev() {
        let mut worker = TcpStream::connect(address).await.unwrap();
        let bytes = [framed(&handshake(&slot.subject), b""), framed(slot.subject.as_bytes(), b"")].concat();
        // In pieces, as a network may deliver it.
        for piece in bytes.chunks(40) {
            worker.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        workers.push(worker);
    }
    for slot in &slots {
        let mut arrived = slot.arrival().await.unwrap();
        while arrived.buffer.len() < 24 + slot.subject.len() {
            arrived.socket.readable().await.unwrap();
            let _ = arrived.socket.try_read_buf(&mut arrived.buffer);
        }
        assert_eq!(arrived.buffer, framed(slot.subject.as_bytes(), b""));
    }
}

#[tokio::test]
async fn ends_a_worker_whose_request_no_longer_waits() {
    let address = home().await;
    let slot = Slot::new(None).unwrap();
    let subject = slot.subject.clone();
    drop(slot);
    assert_eq!(frames_until_end(&mut call_home(address, &subject).await).await, [header(KILL)]);
}

#[tokio::test]
async fn ends_a_worker_that_arrived_before_its_request_was_given_up() {
    let address = home().await;
    let slot = Slot::new(None).unwrap();
    let mut worker = call_home(address, &slot.subject).await;
    while matches!(*slot.waiting.arrival.lock(), super::Arrival::Awaited) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(slot);
    assert_eq!(frames_until_end(&mut worker).await, [header(KILL)]);
}

#[tokio::test]
async fn refuses_a_second_connection_for_a_request() {
    let address = home().await;
    let slot = Slot::new(None).unwrap();
    let first = call_home(address, &slot.subject).await;
    let arrived = slot.arrival().await.unwrap();
    assert_eq!(arrived.socket.peer_addr().unwrap(), first.local_addr().unwrap());
    assert_eq!(frames_until_end(&mut call_home(address, &slot.subject).await).await, [header(KILL)]);
}

#[tokio::test]
async fn closes_a_connection_that_does_not_begin_with_a_handshake() {
    let address = home().await;
    let slot = Slot::new(None).unwrap();
    let request = format!(r#"{{"subject":"{}","stream_type":"request"}}"#, slot.subject);
    let long = vec![b'x'; MAX_MESSAGE_BYTES];
    for bytes in [framed(b"{}", b""), framed(b"", b"data"), framed(request.as_bytes(), b""), framed(&long, b"")] {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        let _ = stranger.write_all(&bytes).await;
        assert_eq!(frames_until_end(&mut stranger).await, []);
    }
}

#[tokio::test]
async fn ends_what_waits_for_an_instance_that_is_removed() {
    let (here, other) = (instance(1), instance(2));
    let waiting = [Slot::new(Some(here.clone())).unwrap(), Slot::new(Some(here.clone())).unwrap()];
    let unrelated = Slot::new(Some(other)).unwrap();
    let task =
        tokio::spawn(async move { waiting[0].arrival().await.map(drop).and(waiting[1].arrival().await.map(drop)) });
    tokio::task::yield_now().await;
    assert_eq!(instance_removed(&here), 2);
    assert_eq!(task.await.unwrap(), Err(Removed));
    assert!(tokio::time::timeout(Duration::from_millis(20), unrelated.arrival()).await.is_err());
}

#[tokio::test]
async fn refuses_requests_to_an_instance_that_was_just_removed_until_it_is_added() {
    let id = instance(3);
    assert_eq!(instance_removed(&id), 0);
    assert_eq!(Slot::new(Some(id.clone())).map(drop), Err(Removed));
    let elsewhere = Target { runtime: id.runtime + 1, ..id.clone() };
    assert!(Slot::new(Some(elsewhere)).is_ok());
    instance_added(&id);
    assert!(Slot::new(Some(id)).is_ok());
}
