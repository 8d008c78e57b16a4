//! Who asks for a service's port at the host's own `::1`.

use super::{LONG, REFUSED, World, policy, v6};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};
use vw_firewall::{ServicePolicy, ServicePort};
use vw_model::Protocol;

#[test]
fn a_connection_of_localhost_goes_on_when_nobody_else_is_led_there() {
    let Some(mut world) = World::new(1) else {
        return;
    };
    let with = |host: Option<&str>, numbers: &[u8]| {
        let port = ServicePort {
            host: host.map(|host| host.parse().unwrap()),
            published: 80,
            target: 8088,
            protocol: Protocol::Tcp,
        };
        ServicePolicy {
            ports: vec![port],
            ..policy(numbers)
        }
    };
    // As many rule sets do: what is refused must be known as the connection's that was asked for.
    world.host.sh("nft add table inet other
         nft 'add chain inet other in { type filter hook input priority filter; }'
         nft add rule inet other in ct state invalid drop");
    let served = SocketAddr::new(v6(0), 8088);
    let server = world.endpoints.run(|| TcpListener::bind(served).unwrap());
    for host in [None, Some("::"), Some("::1")] {
        world.want(&with(host, &[0]));
        let to = "[::1]:80".parse().unwrap();
        let led = world.host.run(|| TcpStream::connect_timeout(&to, LONG));
        let mut client = led.unwrap_or_else(|error| panic!("at {host:?}: {error}"));
        let (mut end, _) = server.accept().unwrap();
        for end in [&client, &end] {
            end.set_read_timeout(Some(LONG)).unwrap();
        }
        world.want(&with(host, &[]));
        let pass = |from: &mut TcpStream, to: &mut TcpStream| {
            let passed = from.write_all(b"x").and_then(|()| to.read(&mut [0; 1]));
            assert_eq!(passed.map_err(|e| e.kind()), Ok(1), "at {host:?}");
        };
        for _ in 0..2 {
            pass(&mut client, &mut end);
            pass(&mut end, &mut client);
        }
        world.check(&world.host, "[::1]:80", REFUSED);
        world.want(&with(host, &[0]));
    }
}
