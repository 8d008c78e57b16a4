//! Who has a port, of sockets really bound.

use super::{process_of, sockets};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use vw_model::Protocol;

#[test]
fn the_process_that_has_a_port_is_found_by_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let everywhere = TcpListener::bind("[::]:0").expect("a port");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let tcp = listener.local_addr().expect("bound").port();
    let both = everywhere.local_addr().expect("bound").port();
    let udp = datagrams.local_addr().expect("bound").port();
    let me = std::process::id();
    let found = |protocol, addr: &str, port: u16| {
        let addr = SocketAddr::new(addr.parse().expect("an address"), port);
        let sockets = sockets(protocol, addr).expect("it is read");
        process_of(&sockets, 0).map(|holder| holder.process)
    };
    assert_eq!(found(Protocol::Tcp, "127.0.0.1", tcp), Some(me));
    assert_eq!(found(Protocol::Tcp, "0.0.0.0", tcp), Some(me));
    assert_eq!(found(Protocol::Tcp, "127.0.0.2", tcp), None);
    assert_eq!(found(Protocol::Tcp, "::", tcp), None);
    assert_eq!(found(Protocol::Tcp, "0.0.0.0", both), Some(me));
    assert_eq!(found(Protocol::Udp, "127.0.0.1", udp), Some(me));
    assert_eq!(found(Protocol::Sctp, "127.0.0.1", tcp), None);
    // Whose own name is asked for knows it by itself.
    let own = sockets(Protocol::Tcp, ([127, 0, 0, 1], tcp).into()).expect("it is read");
    assert_eq!(process_of(&own, me), None);
    let comm = std::fs::read_to_string("/proc/self/comm").expect("a name");
    let holder = process_of(&own, 0).expect("this process");
    assert_eq!(holder.program, comm.trim_end());
}
