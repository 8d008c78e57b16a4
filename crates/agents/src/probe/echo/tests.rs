//! Kernels answer, whatever runs there, and who does not is told within a second.

use super::*;
use vw_testkit::{Lab, require_root};

#[test]
fn kernels_answer_and_who_is_silent_is_told_in_time() {
    require_root!();
    for (prefix, length, own) in [("192.0.2.", 24, "IPv4"), ("2001:db8::", 64, "IPv6")] {
        let at = |number: u8| -> IpAddr { format!("{prefix}{number}").parse().unwrap() };
        let net = |number: u8| format!("{prefix}{number}/{length}");
        let lab = Lab::new();
        let (a, b, deaf) = (lab.host("a"), lab.host("b"), lab.host("deaf"));
        let nets = [net(1), net(2), net(3)];
        let [one, two, three] = [0, 1, 2].map(|n| [nets[n].as_str()]);
        lab.lan(
            "switch",
            &[
                (&a, "wire", &one),
                (&b, "wire", &two),
                (&deaf, "wire", &three),
            ],
        );
        deaf.sh("nft add table inet t; nft 'add chain inet t in { type filter hook input priority 0; }'; nft add rule inet t in icmp type echo-request drop; nft add rule inet t in icmpv6 type echo-request drop")
            .must();
        let asked: BTreeSet<IpAddr> = [at(2), at(3), at(4)].into();
        let begun = Instant::now();
        let heard = a.enter(|| ask(at(1), &asked)).unwrap();
        assert_eq!(heard.asked, asked);
        let heard = heard.answering;
        assert_eq!(heard, BTreeSet::from([at(2)]), "over {own}");
        assert!(begun.elapsed() >= TRIES * PATIENCE, "they had time");
        let heard = a.enter(|| ask(at(1), &[at(2)].into())).unwrap();
        assert_eq!(heard.answering.len(), 1);
        let other: IpAddr = if at(1).is_ipv4() {
            "2001:db8::2"
        } else {
            "192.0.2.2"
        }
        .parse()
        .unwrap();
        let heard = a.enter(|| ask(at(1), &[other].into())).unwrap();
        assert!(heard.asked.is_empty() && heard.answering.is_empty());
        a.enter(|| ask(at(9), &asked)).unwrap_err();
        // Without a way there nobody is asked.
        a.ip("link set wire down");
        // An IPv6 address is not there yet as long as nobody has looked whether another has it.
        let at_once = if at(1).is_ipv6() { "nodad" } else { "" };
        a.ip(&format!("addr replace {} dev lo {at_once}", at(1)));
        let heard = a.enter(|| ask(at(1), &asked)).unwrap();
        assert!(heard.asked.is_empty(), "{heard:?}");
    }
}

#[test]
fn a_question_of_rfc_792_sums_up_to_nothing() {
    let question = Question::new(true);
    assert_eq!(question.bytes[0], 8);
    assert_eq!(checksum(&question.bytes), 0);
}
