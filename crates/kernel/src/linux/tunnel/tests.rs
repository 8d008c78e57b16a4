//! What is said where the device of links of user space is not there.

use super::*;
use expect_test::expect;
use vw_hoststate::{Object, Step};

#[test]
fn without_the_device_the_error_says_how_it_comes_back() {
    let name: IfName = "vw-wg".parse().unwrap();
    let gone = || io::Error::from(io::ErrorKind::Unsupported);
    let link = Object::Link(Link {
        netns: Netns::Tunnel,
        name: name.clone(),
        kind: LinkKind::Tun,
        mac: None,
        mtu: 1420,
        port: None,
        alias: String::new(),
    });
    let said = [
        failed("open", &name, gone()),
        names::failed(&Step::Create(link), gone()),
    ];
    let said = said.map(|error| error.to_string());
    assert_eq!(said[0], said[1]);
    expect!["this kernel has no tun: load the module `tun`; if there is no /dev/net/tun then, make it: mkdir -p /dev/net; mknod /dev/net/tun c 10 200"].assert_eq(&said[0]);
}
