//! What the crates leave as it is on their TCP sockets, or set amiss. They keep these to themselves, so they are found among
//! the descriptors of the process.

use std::mem::size_of;
use std::os::fd::RawFd;

/// Sets `TCP_NODELAY` on every socket that listens on `port`; gives how many those are. The crates' HTTP server leaves Nagle's
/// algorithm on: on a connection that is kept, the first token of an answer then waits for the client's delayed
/// acknowledgement of the headers, about 40 ms. On Linux an accepted socket has the option of the socket that listens.
pub fn set_nodelay_on_listeners(port: u16) -> usize {
    let listens = |fd| is(fd, libc::SO_ACCEPTCONN, 1) && local_port(fd) == Some(port);
    tcp_sockets().filter(|&fd| listens(fd) && set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)).count()
}

/// Lets connections that would be reset by their close send what they hold before they end. The crates set it so on every
/// connection that a worker makes to its caller (`dynamo-runtime/src/pipeline/network/tcp/server.rs`): when a caller has sent
/// all of a request that is itself a stream, its worker would lose what it has not read by then.
pub fn end_in_order() {
    for fd in tcp_sockets() {
        let linger: Option<libc::linger> = option(fd, libc::SOL_SOCKET, libc::SO_LINGER);
        if linger.is_some_and(|linger| linger.l_onoff != 0 && linger.l_linger == 0) {
            set(fd, libc::SOL_SOCKET, libc::SO_LINGER, libc::linger { l_onoff: 0, l_linger: 0 });
        }
    }
}

/// A descriptor that was closed meanwhile, or is no socket, fails each call and is passed over.
fn tcp_sockets() -> impl Iterator<Item = RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok())
        .filter(|&fd| is(fd, libc::SO_PROTOCOL, libc::IPPROTO_TCP))
}

fn is(fd: RawFd, name: i32, value: i32) -> bool {
    option(fd, libc::SOL_SOCKET, name) == Some(value)
}

/// `T`: the option's own type, a plain one of C's.
fn option<T: Copy>(fd: RawFd, level: i32, name: i32) -> Option<T> {
    // SAFETY: zeros are a value of every plain type of C's.
    let (mut value, mut length) = (unsafe { std::mem::zeroed::<T>() }, size_of::<T>() as libc::socklen_t);
    // SAFETY: both pointers are to live variables of the sizes that are told.
    let failed = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut length) };
    (failed == 0).then_some(value)
}

fn set<T: Copy>(fd: RawFd, level: i32, name: i32, value: T) -> bool {
    // SAFETY: the pointer is to a live variable of the size that is told.
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<T>() as libc::socklen_t) == 0 }
}

fn local_port(fd: RawFd) -> Option<u16> {
    // SAFETY: a socket address of zeros is a valid one.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the storage is as long as is told, and long enough for every family.
    if unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut length) } != 0 {
        return None;
    }
    match i32::from(address.ss_family) {
        // SAFETY: the family says which of the two lies there; both have the port at the same place.
        libc::AF_INET | libc::AF_INET6 => {
            Some(u16::from_be(unsafe { (*(&raw const address).cast::<libc::sockaddr_in>()).sin_port }))
        }
        _ => None,
    }
}
