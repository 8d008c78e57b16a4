//! The union over owners: sharing, conflicts, reverting.

use super::*;
use crate::sample::{apply, fragment, owner, pair, port, sandbox, sysctl};
use proptest::{collection::vec, prelude::*};
use vw_model::{EndpointId, MacAddr, NetworkId};

const NETWORK: Owner = Owner::Network(NetworkId::from_bytes([1; 32]));
const ATTACHMENT: Owner = Owner::Attachment(EndpointId::from_bytes([2; 32]));

fn want(state: &mut HostState, owner: Owner, objects: &[Object]) -> Result<Plan, Conflict> {
    let fragment = objects.iter().cloned().collect();
    state.change(vec![(owner, fragment)]).map(|done| done.plan)
}

#[test]
fn a_shared_object_lives_as_long_as_its_last_owner() {
    let mut state = HostState::default();
    let shared = port(1, 80);
    let made = want(&mut state, NETWORK, std::slice::from_ref(&shared)).unwrap();
    assert_eq!(made.steps, [Step::Create(shared.clone())]);
    let joined = want(&mut state, ATTACHMENT, std::slice::from_ref(&shared)).unwrap();
    assert!(joined.is_empty());
    assert!(want(&mut state, NETWORK, &[]).unwrap().is_empty());
    let gone = want(&mut state, ATTACHMENT, &[]).unwrap();
    assert_eq!(gone.steps, [Step::Delete(shared)]);
    assert!(state.desired().is_empty());
}

#[test]
fn an_object_changes_hands_without_a_step() {
    let mut state = HostState::default();
    let object = port(1, 80);
    want(&mut state, NETWORK, std::slice::from_ref(&object)).unwrap();
    let handed = vec![
        (NETWORK, Fragment::default()),
        (ATTACHMENT, [object.clone()].into_iter().collect()),
    ];
    assert!(state.change(handed).unwrap().plan.is_empty());
    assert_eq!(
        want(&mut state, ATTACHMENT, &[]).unwrap().steps,
        [Step::Delete(object)]
    );
}

#[test]
fn a_conflict_names_the_holder_and_changes_nothing() {
    let mut state = HostState::default();
    want(&mut state, NETWORK, &[port(1, 80)]).unwrap();
    let refused = want(&mut state, ATTACHMENT, &[port(2, 80), port(1, 81)]).unwrap_err();
    assert_eq!(refused.holder, NETWORK);
    assert_eq!(*refused.key, port(1, 81).key());
    assert!(state.fragment(ATTACHMENT).is_empty());
    assert_eq!(state.desired().len(), 1);
    // The holder itself may change it, and two owners may in one change.
    let moved = want(&mut state, NETWORK, &[port(1, 81)]).unwrap();
    assert!(matches!(moved.steps[..], [Step::Replace { .. }]));
    let both = vec![
        (NETWORK, [port(1, 82)].into_iter().collect()),
        (ATTACHMENT, [port(1, 83)].into_iter().collect()),
    ];
    assert_eq!(*state.change(both).unwrap_err().key, port(1, 80).key());
}

#[test]
fn a_parameters_former_value_outlives_its_first_owner() {
    let mut state = HostState::default();
    let first = sysctl("net/ipv4/ip_forward", "1", Some("0"));
    want(&mut state, Owner::Host, std::slice::from_ref(&first)).unwrap();
    let again = sysctl("net/ipv4/ip_forward", "1", Some("1"));
    assert!(
        want(&mut state, NETWORK, std::slice::from_ref(&again))
            .unwrap()
            .is_empty()
    );
    assert!(want(&mut state, NETWORK, &[again]).unwrap().is_empty());
    assert!(want(&mut state, Owner::Host, &[]).unwrap().is_empty());
    assert_eq!(
        want(&mut state, NETWORK, &[]).unwrap().steps,
        [Step::Delete(first)]
    );
}

#[test]
fn a_link_that_leaves_its_address_open_does_not_share_one_that_does_not() {
    let mut state = HostState::default();
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    want(&mut state, NETWORK, &[pair("v", "vw0", Some(mac))]).unwrap();
    assert!(want(&mut state, ATTACHMENT, &[pair("v", "vw0", None)]).is_err());
}

#[test]
fn a_link_gets_its_address_left_open_again() {
    let mut state = HostState::default();
    let open = pair("v", "vw0", None);
    want(&mut state, NETWORK, std::slice::from_ref(&open)).unwrap();
    let fixed = pair("v", "vw0", Some(MacAddr([2, 0, 0, 0, 0, 1])));
    let fragment = [fixed].into_iter().collect();
    let change = state.change(vec![(NETWORK, fragment)]).unwrap();
    assert!(state.revert(&change).unwrap().is_empty());
    assert_eq!(*state.desired(), Objects::from_iter([(open.key(), open)]));
}

#[test]
fn of_two_fragments_for_one_owner_the_later_counts() {
    let mut state = HostState::default();
    let twice = [1, 2].map(|n| (NETWORK, [port(n, 80)].into_iter().collect()));
    let change = state.change(twice.to_vec()).unwrap();
    assert_eq!(change.plan.steps, [Step::Create(port(2, 80))]);
    assert!(state.revert(&change).unwrap().is_empty());
    assert!(state.desired().is_empty());
}

#[test]
fn reverting_yields_to_who_came_meanwhile() {
    let mut state = HostState::default();
    want(&mut state, NETWORK, &[port(1, 80)]).unwrap();
    let left = state.change(vec![(NETWORK, Fragment::default())]).unwrap();
    want(&mut state, ATTACHMENT, &[port(1, 81)]).unwrap();
    assert_eq!(state.revert(&left).unwrap_err().holder, ATTACHMENT);
    assert!(state.fragment(NETWORK).is_empty());
}

#[test]
fn what_others_left_meanwhile_goes_with_a_reverted_change() {
    let mut state = HostState::default();
    let shared = port(1, 80);
    want(&mut state, NETWORK, std::slice::from_ref(&shared)).unwrap();
    let both: Fragment = [shared.clone(), port(2, 80)].into_iter().collect();
    let change = state.change(vec![(ATTACHMENT, both)]).unwrap();
    assert_eq!(change.plan.steps, [Step::Create(port(2, 80))]);
    assert!(want(&mut state, NETWORK, &[]).unwrap().is_empty());
    // What the undo of its own plan does is not told.
    let back = state.revert(&change).unwrap();
    assert_eq!(back.steps, [Step::Delete(shared)]);
    assert!(state.desired().is_empty());
}

#[test]
fn who_touches_what_is_under_way_waits() {
    let mut state = HostState::default();
    let (shared, other) = (port(1, 80), port(2, 80));
    let wants = |owner, objects: &[Object]| vec![(owner, objects.iter().cloned().collect())];
    let joins = wants(ATTACHMENT, std::slice::from_ref(&shared));
    let change = state
        .change(wants(NETWORK, std::slice::from_ref(&shared)))
        .unwrap();
    state.set_out(&change.plan);
    assert!(state.must_wait(&joins), "it may still be undone");
    assert!(!state.must_wait(&wants(ATTACHMENT, &[other])));
    assert!(state.must_wait(&wants(NETWORK, &[])), "the owner's next");
    state.land(&change.plan);
    assert!(!state.must_wait(&joins));
    let change = state.change(wants(NETWORK, &[])).unwrap();
    state.set_out(&change.plan);
    assert!(state.must_wait(&joins), "it stands, and goes");
    state.land(&change.plan);
    assert_eq!(
        state.change(joins).unwrap().plan.steps,
        [Step::Create(shared)]
    );
}

#[test]
#[should_panic(expected = "an object goes with its last holder")]
fn what_stands_without_a_holder_is_not_taken_for_taken_up() {
    let mut state = HostState::default();
    want(&mut state, NETWORK, &[port(1, 80)]).unwrap();
    state.holders.clear();
    let disagrees = [port(1, 81)].into_iter().collect();
    drop(state.take_up(vec![(ATTACHMENT, disagrees)]));
}

#[test]
fn owners_are_told_apart_by_kind() {
    let mut state = HostState::default();
    let id = [1; 32];
    assert_eq!(sandbox(1).0.as_bytes(), &id);
    want(&mut state, NETWORK, &[port(1, 80)]).unwrap();
    assert!(state.fragment(Owner::Sandbox(sandbox(1))).is_empty());
}

fn wants() -> impl Strategy<Value = Vec<(Owner, Fragment)>> {
    vec((owner(), fragment()), 1..3)
}

/// Every object that stands is some owner's, as that owner has it, and the reverse.
fn assert_union(state: &HostState) {
    let mut union = Objects::default();
    for (owner, keys) in &state.owners {
        assert!(!keys.is_empty());
        for key in keys {
            let object = &state.objects[&**key];
            assert_eq!(object.key(), **key);
            let holders = &state.holders[key];
            assert!(holders.owners.iter().any(|other| other == owner));
            union.insert(Key::clone(key), object.clone());
        }
    }
    let holders = state.holders.values();
    let holders = holders.map(|holders| holders.owners.iter().count());
    let held: usize = state.owners.values().map(|keys| keys.len()).sum();
    assert_eq!(holders.sum::<usize>(), held);
    assert_eq!(union, *state.desired());
}

proptest! {
    #[test]
    fn the_kernel_follows_the_union(changes in vec(wants(), 0..12)) {
        let mut state = HostState::default();
        let mut kernel = Objects::default();
        for wants in changes {
            let asked: BTreeMap<_, _> = wants.clone().into_iter().collect();
            if let Ok(change) = state.change(wants) {
                apply(&mut kernel, &change.plan);
                for (owner, fragment) in asked {
                    let recorded = state.fragment(owner);
                    prop_assert!(fragment.iter().map(|(key, _)| key).eq(recorded.iter().map(|(key, _)| key)));
                    prop_assert!(fragment.iter().all(|(key, object)| object.agrees(recorded.get(key).unwrap())));
                }
            }
            prop_assert_eq!(&kernel, &*state.desired());
            assert_union(&state);
        }
    }

    #[test]
    fn what_is_taken_up_is_what_a_change_records(
        changes in vec(wants(), 0..6),
        last in wants(),
    ) {
        let mut changed = HostState::default();
        for wants in changes {
            let _ = changed.change(wants);
        }
        let mut taken = changed.clone();
        let before = (taken.desired(), taken.owners.clone());
        let is_taken = taken.take_up(last.clone()).is_ok();
        prop_assert_eq!(is_taken, changed.change(last).is_ok());
        let after = if is_taken { (changed.desired(), changed.owners) } else { before };
        prop_assert_eq!((taken.desired(), taken.owners.clone()), after);
        assert_union(&taken);
    }

    #[test]
    fn a_refused_or_reverted_change_leaves_no_trace(
        changes in vec(wants(), 0..6),
        last in wants(),
    ) {
        let mut state = HostState::default();
        for wants in changes {
            let _ = state.change(wants);
        }
        let (desired, owners) = (state.desired(), state.owners.clone());
        if let Ok(change) = state.change(last) {
            assert!(state.revert(&change).unwrap().is_empty());
        }
        prop_assert_eq!(state.desired(), desired);
        prop_assert_eq!(&state.owners, &owners);
        assert_union(&state);
    }
}
