//! When what is owed is due.

use super::*;
use std::collections::BTreeSet;

#[test]
fn what_was_owed_while_a_service_was_behind_is_due_though_something_stands() {
    let (owed, service) = (Owed::default(), ServiceId::from_bytes([7; 32]));
    let led = Led {
        to: BTreeSet::from([[10, 0, 0, 2].into()]),
        by: None,
    };
    owed.note_behind(service);
    assert!(owed.keep(service, Netns::Host, led.clone()).is_none());
    let settle = |settle: fn(&mut Owing)| lock(&owed.debts).settle(service, settle);
    settle(|owing| owing.standing += 1);
    assert!(owed.take_due().is_empty(), "it is led as before");
    settle(|owing| owing.behind = false);
    assert_eq!(owed.take_due().len(), 1, "what stands may be another's");
    settle(|owing| owing.standing -= 1);
    assert_eq!(owed.take_due().len(), 1, "once more");
    settle(|owing| owing.behind = false);
    assert!(owed.take_due().is_empty());
}
