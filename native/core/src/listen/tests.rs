use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use super::{dynamo_core_bind_address, set_host_of_port};

fn bound(address: SocketAddrV4) -> Ipv4Addr {
    // SAFETY: a socket address of zeros is valid.
    let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    raw.sin_family = libc::AF_INET as libc::sa_family_t;
    raw.sin_port = address.port().to_be();
    raw.sin_addr.s_addr = u32::from(*address.ip()).to_be();
    // SAFETY: the address is live and has this length.
    unsafe { dynamo_core_bind_address((&raw mut raw).cast(), size_of_val(&raw) as libc::socklen_t) };
    u32::from_be(raw.sin_addr.s_addr).into()
}

#[test]
fn replaces_only_the_address_of_all_interfaces_and_only_of_a_chosen_port() {
    let (chosen, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::LOCALHOST);
    set_host_of_port(4001, IpAddr::V4(chosen));
    assert_eq!(bound(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 4001)), chosen);
    assert_eq!(bound(SocketAddrV4::new(other, 4001)), other);
    assert_eq!(bound(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 4002)), Ipv4Addr::UNSPECIFIED);
}
