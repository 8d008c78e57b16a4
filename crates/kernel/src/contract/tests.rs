//! What is shown of keys.

use super::*;
use vw_hoststate::WireguardKey;

#[test]
fn a_private_key_is_never_shown() {
    let public = PublicKey::from_bytes([1; 32]);
    let key = TunnelKey::new(public, Zeroizing::new([0xab; 32]));
    assert_eq!(format!("{key:?}"), format!("TunnelKey({public}, ..)"));
    let object = Object::WireguardKey(WireguardKey {
        netns: Netns::Tunnel,
        link: "vw-wg".parse().unwrap(),
        public: key.public,
        port: 51_820,
    });
    let shown = format!("{object:?}");
    assert!(shown.contains(&public.to_string()), "{shown}");
    assert!(!shown.contains("171"), "{shown}");
}
