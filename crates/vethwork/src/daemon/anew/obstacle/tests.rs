//! What bars the way to another start.

use super::*;
use std::{fs, path::PathBuf};

/// A folder of a test's own, removed with this.
struct Folder(PathBuf);

impl Folder {
    fn of(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vw-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The test has said what went wrong, if anything did.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A daemon with these flags and a file of settings, which says nothing.
fn start(folder: &Folder, hosts: &[&str], options: &[(&str, &str)]) -> Start {
    let file = folder.0.join("daemon.json");
    fs::write(&file, "{}").unwrap();
    let mut flags = Flags {
        config_file: Some(file),
        ..Flags::default()
    };
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    flags.directives.host = hosts.iter().map(|host| (*host).to_owned()).collect();
    flags.directives.cluster_store = Some("etcd://192.0.2.10".to_owned());
    flags.directives.cluster_store_opt = options.iter().map(owned).collect();
    flags.directives.cluster_advertise = Some("eth0".to_owned());
    let settings = file::merge(flags.clone()).and_then(DaemonSettings::check);
    Start {
        settings: settings.unwrap(),
        flags,
    }
}

/// Why one does not start, on a host with an address.
fn obstacle(start: &Start) -> String {
    let facts = HostFacts {
        addresses: vec![("eth0".to_owned(), "192.0.2.7/24".parse().unwrap())],
        ..HostFacts::default()
    };
    let next = start.settings.cluster.as_ref().unwrap().underlay(&facts);
    start.obstacle(&facts, &next.unwrap()).unwrap_or_default()
}

#[test]
fn settings_must_be_valid_and_the_same() {
    let folder = Folder::of("settings");
    let start = start(&folder, &["unix:///run/vw.sock"], &[]);
    assert_eq!(obstacle(&start), "");
    let file = start.flags.config_file.clone().unwrap();
    for (text, expected) in [
        ("no settings", "its settings are no longer valid"),
        (r#"{"mtu": "wide"}"#, "mtu"),
        (
            r#"{"mtu": 1400}"#,
            "no longer those that it was started with",
        ),
        // A start would leave the cluster's networks.
        (
            r#"{"cluster-store": "none"}"#,
            "its settings are no longer valid",
        ),
        // What it says besides means the same.
        (r#"{"icc": true}"#, ""),
    ] {
        fs::write(&file, text).unwrap();
        let told = obstacle(&start);
        assert!(told.contains(expected), "{text}: {told}");
        assert_eq!(told.is_empty(), expected.is_empty(), "{text}: {told}");
    }
    fs::remove_file(file).unwrap();
    assert!(obstacle(&start).contains("daemon.json"));
}

#[test]
fn what_is_listened_at_must_be_there() {
    let folder = Folder::of("listened");
    for (host, is_there) in [
        ("tcp://0.0.0.0:2375", true),
        ("tcp://127.0.0.1:2375", true),
        ("tcp://localhost:2375", true),
        ("tcp://192.0.2.1:2375", false),
    ] {
        let told = obstacle(&start(&folder, &["unix:///run/vw.sock", host], &[]));
        let expected = format!("no address for --host {host} any more");
        assert_eq!(told.is_empty(), is_there, "{told}");
        assert_eq!(told.contains(&expected), !is_there, "{told}");
    }
}

#[test]
fn files_of_the_store_must_be_readable() {
    let folder = Folder::of("readable");
    let file = folder.0.join("ca.pem");
    let options = [("tls.ca", file.to_str().unwrap())];
    let told = obstacle(&start(&folder, &[], &options));
    assert!(
        told.contains("without the cluster's store; mend that"),
        "{told}"
    );
    assert!(told.contains("ca.pem"), "{told}");
}
