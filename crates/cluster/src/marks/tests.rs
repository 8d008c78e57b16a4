//! Notes in an older store, and transactions that pass each other.

use super::*;

/// Carries out a transaction, and gives the number that its note has then.
fn write(marks: &mut Marks, notes: &mut [u64; 2]) {
    let mark = marks.begin();
    notes[mark.slot] = mark.number;
    marks.end(mark, true);
}

fn look(marks: &mut Marks, notes: [u64; 2]) -> bool {
    let least = marks.least;
    marks.looked(least, notes)
}

#[test]
fn what_was_written_before_and_after_a_look_is_missed_in_an_older_store() {
    // Which transactions were looked for before the next one, and how many more there are before
    // anybody looks into the older store.
    for (looks, after) in (0..8).flat_map(|looks| (0..4).map(move |after| (looks, after))) {
        let (mut marks, mut notes) = (Marks::default(), [0; 2]);
        let mut backups = vec![notes];
        for n in 0..3 {
            write(&mut marks, &mut notes);
            if looks & (1 << n) > 0 {
                assert!(look(&mut marks, notes));
            }
            backups.push(notes);
        }
        let last = backups.pop().expect("there are some");
        for backup in backups {
            // What was written last was looked for: else it is as if it had never been.
            let (mut marks, mut restored) = (marks.clone(), backup);
            assert!(look(&mut marks, last));
            (0..after).for_each(|_| write(&mut marks, &mut restored));
            assert!(!look(&mut marks, restored), "{backup:?} for {last:?}");
            assert!(look(&mut marks, restored), "it is missed once");
            write(&mut marks, &mut restored);
            assert!(look(&mut marks, restored));
        }
    }
}

#[test]
fn transactions_that_pass_each_other_are_no_loss() {
    let mut marks = Marks::default();
    let (one, other) = (marks.begin(), marks.begin());
    marks.end(other, true);
    marks.end(one, true);
    assert!(look(&mut marks, [one.number, 0]));
    // One that was sent before a look, and takes effect after it.
    let early = marks.begin();
    assert!(look(&mut marks, [one.number, 0]));
    let late = marks.begin();
    marks.end(late, true);
    assert!(look(&mut marks, [one.number, early.number]));
    marks.end(early, true);
    assert!(look(&mut marks, [one.number, early.number]));
    // Of one that comes to nothing there is no note.
    let refused = marks.begin();
    marks.end(refused, false);
    assert!(look(&mut marks, [one.number, early.number]));
}

#[test]
fn who_starts_over_misses_nothing() {
    let (mut marks, mut notes) = (Marks::default(), [0; 2]);
    write(&mut marks, &mut notes);
    assert!(look(&mut marks, notes));
    marks.forget();
    assert!(look(&mut marks, [0; 2]));
    let mut notes = [0; 2];
    write(&mut marks, &mut notes);
    assert!(look(&mut marks, notes) && !look(&mut marks, [0; 2]));
}
