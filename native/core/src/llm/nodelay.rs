//! `TCP_NODELAY` for the frontend's connections. The crates' HTTP server leaves Nagle's algorithm on: on a connection that is
//! kept, the first token of an answer then waits for the client's delayed acknowledgement of the headers, about 40 ms. On
//! Linux an accepted socket has the option of the socket that listens, so it is set there; the crates keep that one to
//! themselves, so it is found by its port.

use std::mem::size_of;
use std::os::fd::RawFd;

/// Sets the option on every TCP socket of this process that listens on `port`; gives how many those are.
pub fn set_on_listeners(port: u16) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok())
        .filter(|&fd| listens_on(fd, port) && set_nodelay(fd))
        .count()
}

/// A descriptor that was closed meanwhile, or is no socket, fails each call and is passed over.
fn listens_on(fd: RawFd, port: u16) -> bool {
    option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) == Some(1)
        && option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP)
        && local_port(fd) == Some(port)
}

fn option(fd: RawFd, level: i32, name: i32) -> Option<i32> {
    let (mut value, mut length) = (0, size_of::<i32>() as libc::socklen_t);
    // SAFETY: both pointers are to live variables of the sizes that are told.
    let failed = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut length) };
    (failed == 0).then_some(value)
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
        libc::AF_INET | libc::AF_INET6 => Some(u16::from_be(unsafe { (*(&raw const address).cast::<libc::sockaddr_in>()).sin_port })),
        _ => None,
    }
}

fn set_nodelay(fd: RawFd) -> bool {
    let on: i32 = 1;
    // SAFETY: the pointer is to a live variable of the size that is told.
    unsafe {
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), size_of::<i32>() as libc::socklen_t) == 0
    }
}
