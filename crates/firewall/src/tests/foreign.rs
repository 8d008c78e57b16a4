//! Where a rule goes in other firewalls, and its command.

use crate::foreign::*;
use expect_test::{Expect, expect};

fn chain(family: TableFamily, table: &str, chain: &str) -> ForeignChain {
    ForeignChain {
        family,
        table: table.to_owned(),
        chain: chain.to_owned(),
        priority: 0,
        policy: Policy::Drop,
        keeper: Keeper::Nftables,
        docker_user: false,
    }
}

fn check(chain: ForeignChain, expected: Expect) {
    let found = adjustments(&[chain], 0x1000_0000);
    let lines = found.iter().map(|one| match one.obstacle {
        Some(obstacle) => format!("{obstacle}: {one}\n"),
        None => format!("{one}\n"),
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn in_tables_of_iptables() {
    use TableFamily::{Ip, Ip6};
    let iptables = |family| ForeignChain {
        keeper: Keeper::IptablesNft,
        ..chain(family, "filter", "FORWARD")
    };
    check(
        iptables(Ip),
        expect![[r#"
        iptables -t filter -I FORWARD -m mark --mark 0x10000000/0x10000000 -m comment --comment "vethwork: let pass by inet vethwork, mark 0x10000000" -j ACCEPT
    "#]],
    );
    let docker = ForeignChain {
        docker_user: true,
        ..iptables(Ip6)
    };
    check(
        docker,
        expect![[r#"
        ip6tables -t filter -I DOCKER-USER -m mark --mark 0x10000000/0x10000000 -m comment --comment "vethwork: let pass by inet vethwork, mark 0x10000000" -j ACCEPT
    "#]],
    );
    let legacy = ForeignChain {
        keeper: Keeper::IptablesLegacy,
        ..iptables(Ip)
    };
    check(
        legacy,
        expect![[r#"
        it is of the older iptables (legacy): iptables-legacy -t filter -I FORWARD -m mark --mark 0x10000000/0x10000000 -m comment --comment "vethwork: let pass by inet vethwork, mark 0x10000000" -j ACCEPT
    "#]],
    );
}

#[test]
fn in_tables_of_nftables() {
    use TableFamily::Inet;
    check(
        chain(Inet, "filter", "forward"),
        expect![[r#"
        nft insert rule inet filter forward meta mark \& 0x10000000 == 0x10000000 accept comment '"vethwork: let pass by inet vethwork, mark 0x10000000"'
    "#]],
    );
    let firewalld = ForeignChain {
        policy: Policy::Accept,
        priority: 10,
        ..chain(Inet, "firewalld", "filter_FORWARD")
    };
    check(
        firewalld.clone(),
        expect![[r#"
        nft insert rule inet firewalld filter_FORWARD meta mark \& 0x10000000 == 0x10000000 accept comment '"vethwork: let pass by inet vethwork, mark 0x10000000"'
    "#]],
    );
    let owned = ForeignChain {
        keeper: Keeper::Owner,
        ..firewalld
    };
    check(
        owned,
        expect![[r#"
        its table belongs to another process: nft insert rule inet firewalld filter_FORWARD meta mark \& 0x10000000 == 0x10000000 accept comment '"vethwork: let pass by inet vethwork, mark 0x10000000"'
    "#]],
    );
    let early = ForeignChain {
        priority: -150,
        ..chain(Inet, "early", "forward")
    };
    check(
        early,
        expect![[r#"
        it decides before our mark is set: nft insert rule inet early forward meta mark \& 0x10000000 == 0x10000000 accept comment '"vethwork: let pass by inet vethwork, mark 0x10000000"'
    "#]],
    );
    let open = ForeignChain {
        policy: Policy::Accept,
        ..chain(Inet, "netavark", "FORWARD")
    };
    check(open, expect![[r#""#]]);
}

#[test]
fn nothing_is_accepted_without_a_mark() {
    let dropping = chain(TableFamily::Inet, "filter", "forward");
    assert_eq!(adjustments(&[dropping], 0), []);
}
