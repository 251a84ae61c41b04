//! The addresses of the listening sockets of the crates. Some of the crates listen on all interfaces and have no option
//! for it. The addon's `bind` calls `bind_address` for every socket of this library (native/binding/listen.cc).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use parking_lot::Mutex;

#[derive(Default)]
struct Chosen {
    /// For ports of the system's choice: those of event publishers.
    any_port: Option<IpAddr>,
    by_port: HashMap<u16, IpAddr>,
}

static CHOSEN: LazyLock<Mutex<Chosen>> = LazyLock::new(Default::default);

/// The address of the publishers of the event plane. The crates advertise it, but listen on all interfaces. Source:
/// dynamo-runtime `transports/event_plane/mod.rs`.
pub fn set_event_plane_host(host: IpAddr) {
    CHOSEN.lock().any_port = Some(host);
}

/// The address of a port that the crates open on all interfaces.
pub fn set_host_of_port(port: u16, host: IpAddr) {
    CHOSEN.lock().by_port.insert(port, host);
}

/// The address for a socket that is bound to all interfaces, if another was chosen.
fn chosen(port: u16) -> Option<IpAddr> {
    let chosen = CHOSEN.lock();
    if port == 0 { chosen.any_port } else { chosen.by_port.get(&port).copied() }
}

/// Replaces the address of all interfaces by the one that was chosen for its port. `address` and `length` are those of
/// `bind`, for a socket of streams. A socket of datagrams may only be there to send.
///
/// # Safety
/// `address` points to `length` bytes that may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynamo_core_bind_address(address: *mut libc::sockaddr, length: libc::socklen_t) {
    if length < size_of::<libc::sockaddr_in>() as libc::socklen_t {
        return;
    }
    // SAFETY: the caller's promise. The family determines the type, and the length was compared with its size.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let address = &mut *address.cast::<libc::sockaddr_in>();
                if address.sin_addr.s_addr == libc::INADDR_ANY
                    && let Some(IpAddr::V4(host)) = chosen(u16::from_be(address.sin_port))
                {
                    address.sin_addr.s_addr = u32::from(host).to_be();
                }
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() as libc::socklen_t => {
                let address = &mut *address.cast::<libc::sockaddr_in6>();
                if address.sin6_addr.s6_addr == [0; 16]
                    && let Some(IpAddr::V6(host)) = chosen(u16::from_be(address.sin6_port))
                {
                    address.sin6_addr.s6_addr = host.octets();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
