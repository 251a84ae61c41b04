use std::net::TcpListener;

use super::{Probe, free_port};

#[test]
fn finds_a_free_port_for_0() {
    assert_ne!(free_port("http", "127.0.0.1", 0).unwrap(), 0);
}

#[test]
fn reports_a_port_that_is_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let failure = free_port("http", "127.0.0.1", port).err().unwrap();
    assert_eq!((failure.class.as_str(), failure.reason.as_str()), ("Unavailable", "frontend.bind"));
    assert_eq!(failure.details.unwrap()["port"], port);
}

#[tokio::test]
async fn sees_whether_an_address_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert!(Probe::Connect(address.clone()).answers().await);
    drop(listener);
    assert!(!Probe::Connect(address).answers().await);
    assert!(Probe::None.answers().await);
}
