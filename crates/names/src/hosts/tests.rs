//! What is promised of `/etc/hosts`, on examples.

use super::HostsFile;
use expect_test::expect;
use std::net::IpAddr;
use vw_model::HostEntry;

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn extra() -> Vec<HostEntry> {
    [("db", "10.9.9.9"), ("six", "fd00::9")]
        .map(|(name, addr)| HostEntry {
            name: name.to_owned(),
            addr: addr.parse().unwrap(),
        })
        .to_vec()
}

#[test]
fn as_docker_makes_it() {
    let extra = extra();
    let mut file = HostsFile {
        hostname: "web",
        domainname: "",
        extra: &extra,
        ipv6: true,
    };
    expect![[r#"
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::	ip6-localnet
        ff00::	ip6-mcastprefix
        ff02::1	ip6-allnodes
        ff02::2	ip6-allrouters
        10.9.9.9	db
        fd00::9	six
        172.18.0.2	web
        fd00:18::2	web
    "#]]
    .assert_eq(&file.render(&addresses(&["172.18.0.2", "fd00:18::2"])));
    file.ipv6 = false;
    file.domainname = "example.com";
    expect![[r#"
        127.0.0.1	localhost
        10.9.9.9	db
        172.18.0.2	web.example.com web
    "#]]
    .assert_eq(&file.render(&addresses(&["172.18.0.2", "fd00:18::2"])));
    (file.hostname, file.domainname) = ("a.b.c", "");
    assert!(
        file.render(&addresses(&["10.0.0.1"]))
            .ends_with("10.0.0.1\ta.b.c a\n")
    );
}

#[test]
fn a_change_touches_our_own_lines_alone() {
    let file = HostsFile {
        hostname: "web",
        domainname: "",
        extra: &[],
        ipv6: true,
    };
    let mine = addresses(&["172.18.0.2"]);
    let mut text =
        "# mine\n10.0.0.1 x\n\n172.18.0.2\tweb other\n172.18.0.2\tweb\nno end".to_owned();
    text = file.remove(&text, &mine);
    file.add(&mut text, &addresses(&["172.18.0.7"]));
    expect![[r#"
        # mine
        10.0.0.1 x

        172.18.0.2	web other
        no end
        172.18.0.7	web
    "#]]
    .assert_eq(&text);
    let first = file.render(&mine);
    let mut again = file.remove(&first, &mine);
    file.add(&mut again, &mine);
    assert_eq!(again, first);
}
