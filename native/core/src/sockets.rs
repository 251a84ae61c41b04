//! Options that the crates do not set on their TCP sockets, or set wrongly. The crates do not expose the sockets, so
//! they are found among the file descriptors of the process.

use std::mem::size_of;
use std::os::fd::RawFd;

use dynamo_runtime::DistributedRuntime;
use dynamo_runtime::distributed::RequestPlaneMode;
use dynamo_runtime::pipeline::network::manager::get_actual_tcp_rpc_port;
use tokio::sync::OnceCell;

/// Binds the server of the request plane, as the crates do for the first endpoint of a process, and sets `TCP_NODELAY`
/// on it. The crates leave Nagle's algorithm on. With two or more requests in flight on a connection, the worker's
/// second acknowledgement then waits about 40 ms for the caller's delayed one, and its request with it. A process has
/// one such server. Must precede the registration: the option does not reach connections that are already accepted.
/// Source: dynamo-runtime `pipeline/network/ingress/shared_tcp_endpoint.rs`.
pub async fn start_request_plane(drt: &DistributedRuntime) -> anyhow::Result<()> {
    static SET: OnceCell<()> = OnceCell::const_new();
    drt.request_plane_server().await?;
    if drt.request_plane() == RequestPlaneMode::Tcp {
        let set = async || get_actual_tcp_rpc_port().map(|port| _ = set_nodelay_on_listeners(port));
        SET.get_or_try_init(set).await?;
    }
    Ok(())
}

/// Sets `TCP_NODELAY` on every socket that listens on `port`, and returns how many there are. The crates' HTTP server
/// leaves Nagle's algorithm on. On a kept-alive connection the first token of an answer then waits about 40 ms, for the
/// client's delayed acknowledgement of the headers. On Linux an accepted socket inherits the option from the listening
/// socket.
pub fn set_nodelay_on_listeners(port: u16) -> usize {
    let listens = |fd| is(fd, libc::SO_ACCEPTCONN, 1) && local_port(fd) == Some(port);
    tcp_sockets().filter(|&fd| listens(fd) && set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)).count()
}

/// Makes connections that a close would reset send their buffered data first. The crates set a zero linger time on
/// every connection from a worker to its caller. When the caller has sent all of a request stream, its worker would
/// lose the unread part. Source: dynamo-runtime `pipeline/network/tcp/server.rs`. A listening socket keeps its option
/// for the connections that inherit it.
pub fn end_in_order() {
    for fd in tcp_sockets().filter(|&fd| !is(fd, libc::SO_ACCEPTCONN, 1)) {
        let linger: Option<libc::linger> = option(fd, libc::SOL_SOCKET, libc::SO_LINGER);
        if linger.is_some_and(|linger| linger.l_onoff != 0 && linger.l_linger == 0) {
            set(fd, libc::SOL_SOCKET, libc::SO_LINGER, libc::linger { l_onoff: 0, l_linger: 0 });
        }
    }
}

/// A descriptor that is not a socket, or that was closed in the meantime, fails each call and is skipped.
fn tcp_sockets() -> impl Iterator<Item = RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok())
        .filter(|&fd| is(fd, libc::SO_PROTOCOL, libc::IPPROTO_TCP))
}

fn is(fd: RawFd, name: i32, value: i32) -> bool {
    option(fd, libc::SOL_SOCKET, name) == Some(value)
}

/// `T`: the type of the option, a plain C type.
fn option<T: Copy>(fd: RawFd, level: i32, name: i32) -> Option<T> {
    // SAFETY: all bytes zero is a valid value of every plain C type.
    let (mut value, mut length) = (unsafe { std::mem::zeroed::<T>() }, size_of::<T>() as libc::socklen_t);
    // SAFETY: both pointers point to live variables of the given sizes.
    let failed = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut length) };
    (failed == 0).then_some(value)
}

fn set<T: Copy>(fd: RawFd, level: i32, name: i32, value: T) -> bool {
    // SAFETY: the pointer points to a live variable of the given size.
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<T>() as libc::socklen_t) == 0 }
}

fn local_port(fd: RawFd) -> Option<u16> {
    // SAFETY: a socket address of zeros is valid.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the storage has the given length, which is enough for every family.
    if unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut length) } != 0 {
        return None;
    }
    match i32::from(address.ss_family) {
        libc::AF_INET | libc::AF_INET6 => {
            // SAFETY: the family determines which of the two types it is, and both have the port at the same offset.
            Some(u16::from_be(unsafe { (*(&raw const address).cast::<libc::sockaddr_in>()).sin_port }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
