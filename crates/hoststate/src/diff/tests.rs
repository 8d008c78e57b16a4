//! What a diff promises of any two worlds.

use super::*;
use crate::{
    NamespaceSource, Object, Step,
    sample::{apply, bridge, namespace, pair, sysctl, world},
};
use proptest::prelude::*;
use vw_model::MacAddr;

fn between(old: Object, new: Object) -> Vec<Step> {
    let keyed = |object: Object| Objects::from_iter([(object.key(), object)]);
    diff(&keyed(old), &keyed(new)).steps
}

#[test]
fn what_cannot_be_seen_does_not_count() {
    let process = NamespaceSource::Process {
        pid: 1,
        start_time: 2,
    };
    let same = [
        (namespace(1, process), namespace(1, NamespaceSource::New)),
        (sysctl("a", "1", None), sysctl("a", "1", Some("0"))),
        (
            pair("v", "vw0", Some(MacAddr([2, 0, 0, 0, 0, 9]))),
            pair("v", "vw0", None),
        ),
    ];
    for (seen, wanted) in same {
        assert_eq!(between(seen, wanted), []);
    }
}

#[test]
fn what_can_be_seen_counts() {
    let mac = |last| Some(MacAddr([2, 0, 0, 0, 0, last]));
    let different = [
        (sysctl("a", "1", None), sysctl("a", "0", None)),
        (bridge("vw0", 1500), bridge("vw0", 1400)),
        (pair("v", "vw0", mac(1)), pair("v", "vw0", mac(2))),
        (pair("v", "vw0", None), pair("v", "vw0", mac(2))),
        (pair("v", "vw0", None), pair("v", "vw1", None)),
    ];
    for (old, new) in different {
        let replace = Step::Replace {
            old: old.clone(),
            new: new.clone(),
        };
        assert_eq!(between(old, new), [replace]);
    }
}

proptest! {
    #[test]
    fn a_diff_leads_from_one_world_to_the_other(a in world(), b in world()) {
        let mut reached = a.clone();
        apply(&mut reached, &diff(&a, &b));
        prop_assert_eq!(reached.len(), b.len());
        for (key, wanted) in &b {
            prop_assert!(wanted.matches(&reached[key]));
        }
        prop_assert!(diff(&reached, &b).is_empty());
    }

    #[test]
    fn nothing_differs_from_itself(a in world()) {
        prop_assert!(diff(&a, &a).is_empty());
    }
}
