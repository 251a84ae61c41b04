use std::net::TcpListener;
use std::os::fd::AsRawFd;

use super::{local_port, option, set_nodelay_on_listeners};

#[test]
fn sets_nodelay_on_the_listeners_of_a_port() {
    let (listener, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    assert_eq!(local_port(listener.as_raw_fd()), Some(port));
    assert_eq!(set_nodelay_on_listeners(port), 1);
    assert!(nodelay(&listener));
    assert!(!nodelay(&other));
}

fn nodelay(listener: &TcpListener) -> bool {
    option::<i32>(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY) == Some(1)
}
