use super::*;

/// Carries out a transaction, and gives the number that its note has then.
fn write(marks: &mut Marks, notes: &mut [u64; 2]) {
    let mark = marks.next();
    notes[mark.slot] = mark.number;
    marks.applied(mark);
}

fn look(marks: &mut Marks, notes: [u64; 2]) -> bool {
    let least = marks.least;
    marks.looked(least, notes)
}

#[test]
fn what_was_written_before_and_after_a_look_is_missed_in_an_older_store() {
    for before in 1..4 {
        for after in 0..4 {
            let (mut marks, mut notes) = (Marks::default(), [0; 2]);
            let mut backups = Vec::new();
            for _ in 0..before {
                write(&mut marks, &mut notes);
                assert!(look(&mut marks, notes));
                backups.push(notes);
            }
            let last = backups.pop().expect("at least one");
            for backup in backups.into_iter().chain([[0; 2]]) {
                let mut marks = Marks {
                    number: marks.number,
                    current: marks.current,
                    first: marks.first,
                    least: marks.least,
                };
                let mut restored = backup;
                // Written before anybody looks.
                (0..after).for_each(|_| write(&mut marks, &mut restored));
                assert!(!look(&mut marks, restored), "{backup:?} for {last:?}");
                assert!(look(&mut marks, restored), "it is missed once");
                write(&mut marks, &mut restored);
                assert!(look(&mut marks, restored));
            }
        }
    }
}

#[test]
fn transactions_that_pass_each_other_are_no_loss() {
    let mut marks = Marks::default();
    let (one, other) = (marks.next(), marks.next());
    marks.applied(other);
    marks.applied(one);
    assert!(look(&mut marks, [one.number, 0]));
    // One that was sent before the look, and takes effect after it.
    let late = marks.next();
    marks.applied(late);
    let later = marks.next();
    assert!(look(&mut marks, [one.number, late.number]));
    marks.applied(later);
    assert!(look(&mut marks, [one.number, later.number]));
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
