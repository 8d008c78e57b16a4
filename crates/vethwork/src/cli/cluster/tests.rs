//! How `cluster status` looks.

use super::*;
use expect_test::expect;
use serde_json::json;

#[test]
fn a_cluster_is_shown_as_two_tables() {
    let status = json!({
        "Store": {"Kind": "etcd", "Servers": [
            {"Address": "192.0.2.10:2379", "LatencyMicroseconds": 431, "Leader": true, "Version": "3.4.23"},
            {"Address": "192.0.2.11:2379", "Error": "connection refused"},
        ]},
        "Hosts": [
            {"ID": "0123456789abcdef", "Name": "a", "Address": "192.0.2.1", "Version": "0.1.0",
             "This": true, "Alive": true, "Endpoints": 3, "Blocks": 1},
            {"ID": "fedcba9876543210", "Name": "b", "Address": "192.0.2.2", "Version": "0.1.0",
             "Alive": true, "Endpoints": 12, "Blocks": 2, "LatencyMicroseconds": 1234, "MTU": 1450,
             "EncryptedReachable": true, "EncryptedLatencyMicroseconds": 2345, "EncryptedMTU": 1370},
            {"ID": "aaaaaaaaaaaaaaaa", "Name": "c", "Address": "192.0.2.3", "Version": "0.1.0"},
            {"ID": "bbbbbbbbbbbbbbbb", "Name": "d", "Address": "192.0.2.4", "Version": "0.1.0",
             "Alive": true, "Reachable": false, "Endpoints": 1, "Blocks": 0,
             "EncryptedReachable": false, "Trouble": "it does not answer"},
            {"ID": "cccccccccccccccc", "Name": "e", "Address": "192.0.2.5", "Version": "0.1.0",
             "Away": true, "Endpoints": 2},
        ],
        "Encryption": "kernel",
    });
    let view = View::deserialize(&status).unwrap();
    expect![[r#"
        ID             HOST      ADDRESS     STATE         LATENCY   MTU       ENCRYPTED     ENDPOINTS   BLOCKS    VERSION
        0123456789ab   a         192.0.2.1   this host     -         -         -             3           1         0.1.0
        fedcba987654   b         192.0.2.2   alive         1.23 ms   1450      1370          12          2         0.1.0
        aaaaaaaaaaaa   c         192.0.2.3   dead          -         -         -             0           -         0.1.0
        bbbbbbbbbbbb   d         192.0.2.4   unreachable   -         -         unreachable   1           0         0.1.0
        cccccccccccc   e         192.0.2.5   away          -         -         -             2           -         0.1.0

        STORE     SERVER            STATE                LATENCY   VERSION
        etcd      192.0.2.10:2379   leader               0.43 ms   3.4.23
        etcd      192.0.2.11:2379   connection refused   -         

        Encrypted networks of this host: by WireGuard in the kernel

        WARNING: d: it does not answer
    "#]].assert_eq(&shown(&view, false));
}

#[test]
fn hosts_of_different_versions_are_told_of() {
    let shown = |hosts: &[(&str, &str, bool)]| {
        let host = |(name, version, alive): &(&str, &str, bool)| {
            json!({"ID": "0123456789abcdef", "Name": name, "Address": "192.0.2.1",
                   "Version": version, "Alive": alive})
        };
        let hosts: Vec<_> = hosts.iter().map(host).collect();
        let view = View::deserialize(&json!({ "Hosts": hosts })).unwrap();
        super::shown(&view, false)
    };
    let one = shown(&[
        ("a", "0.2.0", true),
        ("b", "0.1.0", true),
        ("c", "0.2.0", true),
    ]);
    let warning = "WARNING: hosts run different versions: 0.1.0 (b), 0.2.0 (a, c)\n";
    assert!(one.ends_with(warning), "{one}");
    // Who is dead runs none.
    let other = shown(&[
        ("a", "0.2.0", true),
        ("b", "0.1.0", false),
        ("c", "0.2.0", true),
    ]);
    assert!(!other.contains("WARNING"), "{other}");
}
