//! Beside other firewalls that drop what they do not know.

use super::super::legacy_chains;
use super::MARK;
use super::host::Host;
use super::ns::{LONG, Ns, SHORT};
use vw_firewall::foreign::{Place, TableFamily, adjustments};

const DROPPED: &str = "TimedOut";

#[test]
fn rules_are_made_once_and_taken_back() {
    // (what stands, how it lists its rules)
    let firewalls = [
        (
            "nft 'add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }'",
            "nft list ruleset inet | grep -c 'vethwork: let pass' || true",
        ),
        (
            "iptables -P FORWARD DROP",
            "iptables -S FORWARD | grep -c 'vethwork: let pass' || true",
        ),
        (
            "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
             iptables -I FORWARD -j DOCKER-USER; iptables -P FORWARD DROP",
            "iptables -S DOCKER-USER | grep -c 'vethwork: let pass' || true",
        ),
        (
            "nft 'add table inet firewalld
                  add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }
                  add rule inet firewalld filter_FORWARD ct state established,related accept
                  add rule inet firewalld filter_FORWARD drop'",
            "nft list table inet firewalld | grep -c 'vethwork: let pass' || true",
        ),
    ];
    for (firewall, count) in firewalls {
        let Some(mut world) = Host::new() else { return };
        world.passes(true);
        assert_eq!(world.adjustments(), []);
        world.host.sh(firewall);
        world.passes(false);
        for _ in 0..2 {
            world.adjust().unwrap();
            assert_eq!(world.host.sh(count), "1\n", "{firewall}");
        }
        world.passes(true);
        // For another mark, the rule is replaced.
        let mut other = world.adjustments();
        other.iter_mut().for_each(|one| one.mark = 0x4);
        other.iter().for_each(|one| world.nft.adjust(one).unwrap());
        assert_eq!(world.host.sh(count), "1\n", "{firewall}");
        world.passes(false);
        let places: Vec<Place> = other.into_iter().map(|one| one.place).collect();
        assert_eq!(world.nft.adjusted().unwrap(), places);
        for place in &places {
            world.nft.withdraw(place).unwrap();
            world.nft.withdraw(place).unwrap();
        }
        assert_eq!(world.nft.adjusted().unwrap(), []);
        assert_eq!(world.host.sh(count), "0\n", "{firewall}");
    }
}

#[test]
fn iptables_lists_saves_and_restores_the_rule() {
    let Some(mut world) = Host::new() else { return };
    world
        .host
        .sh("iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER; iptables -P FORWARD DROP");
    world.adjust().unwrap();
    let listed = world.host.sh("iptables -S DOCKER-USER");
    let mine = format!(
        "-A DOCKER-USER -m mark --mark {MARK:#x}/{MARK:#x} -m comment --comment \"vethwork: let pass by inet vethwork, mark {MARK:#x}\" -j ACCEPT\n"
    );
    assert_eq!(
        listed,
        format!("-N DOCKER-USER\n{mine}-A DOCKER-USER -j RETURN\n")
    );
    world
        .host
        .sh("iptables-save > /dev/null; iptables-save | iptables-restore");
    world.adjust().unwrap();
    assert_eq!(world.host.sh("iptables -S DOCKER-USER"), listed);
    world.host.sh("ip6tables -P FORWARD DROP");
    world.adjust().unwrap();
    let six = world.host.sh("ip6tables -S FORWARD");
    assert!(
        six.contains(&mine.replace("DOCKER-USER", "FORWARD")),
        "{six}"
    );
    // By the command that a warning gives, an administrator deletes what we made.
    let command = world.adjustments()[0].to_string();
    assert_eq!(
        command,
        mine.trim_end()
            .replace("-A DOCKER-USER", "iptables -t filter -I DOCKER-USER")
    );
    world.host.sh(&command.replace("-I", "-D"));
    assert!(!world.host.sh("iptables -S").contains("vethwork"));
}

#[test]
fn the_command_of_a_warning_does_what_we_would() {
    let Some(mut world) = Host::new() else { return };
    world.host.sh("nft 'add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }'");
    let command = world.adjustments()[0].to_string();
    world.host.sh(&command);
    world.passes(true);
    let by_hand = world.host.sh("nft list table inet fw");
    world.adjust().unwrap();
    assert_eq!(world.host.sh("nft list table inet fw"), by_hand);
}

#[test]
fn what_cannot_be_changed_is_refused_by_name() {
    let Some(mut world) = Host::new() else { return };
    world.host.sh("nft 'add table inet early; add chain inet early forward { type filter hook forward priority -10; policy drop; }'");
    let refused = world.adjust().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "nftables refused the change: it decides before our mark is set"
    );
}

#[test]
fn another_engines_bridge_is_not_opened() {
    let Some(mut world) = Host::new() else { return };
    let theirs = Ns::new().unwrap();
    world.host.sh(&format!(
        "ip link add docker0 type bridge; ip link set docker0 up; ip addr add 172.17.0.1/24 dev docker0
         ip link add theirs type veth peer name eth0 netns {}; ip link set theirs master docker0 up
         iptables -P FORWARD DROP; iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
         iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        theirs.path()
    ));
    theirs.sh("ip addr add 172.17.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1");
    theirs.serve("0.0.0.0:80");
    world.adjust().unwrap();
    world.passes(true);
    assert_eq!(world.container.ask("172.17.0.2:80", SHORT), DROPPED);
    assert_eq!(theirs.ask("10.1.0.2:80", SHORT), DROPPED);
    assert_eq!(theirs.ask("192.0.2.1:8080", LONG), "172.17.0.2");
}

#[test]
fn the_older_iptables_is_seen_but_not_changed() {
    let Some(mut world) = Host::new() else { return };
    let seen = |world: &Host| world.host.run(|| legacy_chains().unwrap());
    assert_eq!(seen(&world), []);
    if !world
        .host
        .succeeds("iptables-legacy -S && ip6tables-legacy -S")
    {
        return println!("SKIP: no older iptables here");
    }
    world
        .host
        .sh("iptables-legacy -A FORWARD -s 192.0.2.9 -j ACCEPT; iptables-legacy -N DOCKER-USER");
    assert_eq!(adjustments(&seen(&world), MARK), []);
    world
        .host
        .sh("iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP");
    world.passes(false);
    let wanted = adjustments(&seen(&world), MARK);
    let families: Vec<_> = wanted.iter().map(|one| one.place.family).collect();
    assert_eq!(families, [TableFamily::Ip, TableFamily::Ip6]);
    let refused = world.nft.adjust(&wanted[0]).unwrap_err();
    assert_eq!(refused.source.kind(), std::io::ErrorKind::Unsupported);
    // The command of the warning helps; nobody calls DOCKER-USER here, so it goes to FORWARD.
    let command = wanted[0].to_string().replace("DOCKER-USER", "FORWARD");
    world.host.sh(&command);
    world.passes(true);
}
