//! When what is owed is due, and how much of it there is.

use super::*;

const SERVICE: ServiceId = ServiceId(vw_model::Id::from_bytes([7; 32]));

fn led(last: u8) -> Led {
    Led {
        to: BTreeSet::from([[10, 0, 0, last].into()]),
        by: None,
    }
}

fn due(owed: &Owed) -> usize {
    owed.take_due().count()
}

#[test]
fn what_was_owed_while_a_service_was_behind_is_due_though_something_stands() {
    let owed = Owed::default();
    owed.note_behind(SERVICE);
    assert!(owed.keep(SERVICE, Netns::Host, led(2)).is_none());
    lock(&owed.debts).note_standing(SERVICE);
    assert_eq!(due(&owed), 0, "it is led as before");
    lock(&owed.debts).note_led(SERVICE);
    assert_eq!(due(&owed), 1, "what stands may be another's");
    owed.begin_comparing();
    lock(&owed.debts).note_gone();
    assert_eq!(due(&owed), 1, "once more");
    lock(&owed.debts).note_led(SERVICE);
    assert_eq!(due(&owed), 0);
}

#[test]
fn what_is_owed_while_something_stands_is_kept_once() {
    let owed = Owed::default();
    for _ in 0..1000 {
        lock(&owed.debts).note_standing(SERVICE);
        assert!(owed.keep(SERVICE, Netns::Host, led(2)).is_some());
        owed.begin_comparing();
    }
    {
        let debts = lock(&owed.debts);
        assert_eq!((debts.standing.len(), debts.compared.len()), (0, 1));
        assert_eq!(debts.owing[&SERVICE].owed.0.len(), 1);
    }
    // What could not be taken away meanwhile, a comparison may have seen as it was.
    lock(&owed.debts).note_standing(SERVICE);
    lock(&owed.debts).note_gone();
    assert_eq!(due(&owed), 0, "it may stand");
    assert!(owed.some_stands());
    owed.begin_comparing();
    lock(&owed.debts).note_gone();
    assert_eq!(due(&owed), 1);
    assert!(!owed.some_stands());
}
