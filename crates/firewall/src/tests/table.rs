//! What holds of the rules of every table.

use crate::spec::{Contents, Match, Rule, Statement};
use crate::*;

fn rules(table: TableSpec) -> Vec<Rule> {
    let of = |chain: spec::ChainSpec| match chain.contents {
        Contents::Administrator => Vec::new(),
        Contents::Ours { rules, .. } => rules,
    };
    table.chains.into_iter().flat_map(of).collect()
}

#[test]
fn maps_are_asked_for_values_and_sets_for_keys() {
    let host = HostTable {
        accept_mark: 1,
        tunnels: Some("192.0.2.1".parse().unwrap()),
    };
    let tables = [host.rules(), service_table(), balancer_table()];
    for rule in tables.into_iter().flat_map(rules) {
        // Linux before 6.5 refuses the whole table for one (`nft_lookup_init`).
        for matched in &rule.when {
            if let Match::In(_, set) = matched {
                assert!(set.value().is_empty(), "{rule}");
            }
        }
        let map = match &rule.then {
            Statement::Verdict(_, map)
            | Statement::Dnat(_, _, map)
            | Statement::Snat(_, _, map) => map,
            _ => continue,
        };
        assert!(!map.value().is_empty(), "{rule}");
    }
}
