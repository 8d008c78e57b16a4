//! A clock that is set, and daemons that start anew.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// A file that goes with the test.
struct Note(PathBuf);

impl Note {
    fn new(name: &str) -> Self {
        let name = format!("vw-clock-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> WallClock {
        WallClock::open(self.0.clone())
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The clocks, so long after the kernel's start with the wall clock at a time.
fn at(wall: Duration, boot: Duration) -> Reading {
    Reading {
        wall: SystemTime::UNIX_EPOCH + 1000 * HOUR + wall,
        boot,
    }
}

#[test]
fn a_clock_that_is_set_back_while_the_daemon_runs_is_noticed_until_the_key_is_another() {
    let note = Note::new("runs");
    let mut clock = note.open();
    assert!(!clock.is_set_back(at(HOUR, MINUTE)));
    // An hour later it shows no time from before, and is behind all the same.
    assert!(!clock.is_set_back(at(HOUR - TOLERANCE + MINUTE, 2 * MINUTE)));
    assert!(clock.is_set_back(at(HOUR + MINUTE, HOUR)));
    assert!(clock.is_set_back(at(2 * HOUR, HOUR + MINUTE)));
    clock.begin_anew(at(HOUR + 2 * MINUTE, HOUR + MINUTE));
    assert!(!clock.is_set_back(at(HOUR + 3 * MINUTE, HOUR + 2 * MINUTE)));
    // Forward, and back from there.
    assert!(!clock.is_set_back(at(90 * HOUR, HOUR + 3 * MINUTE)));
    assert!(clock.is_set_back(at(2 * HOUR, 2 * HOUR)));
}

#[test]
fn many_small_steps_back_are_a_long_one() {
    let note = Note::new("small");
    let mut clock = note.open();
    let step = TOLERANCE / 2;
    let seen: Vec<bool> = (0..5)
        .map(|n| clock.is_set_back(at(HOUR + n * (MINUTE - step), n * MINUTE)))
        .collect();
    assert_eq!(seen, [false, false, false, true, true]);
}

#[test]
fn a_clock_that_is_behind_the_last_time_noted_is_noticed_after_each_start() {
    let note = Note::new("start");
    let mut clock = note.open();
    assert!(!clock.is_set_back(at(HOUR, 9 * HOUR)));
    assert!(!clock.is_set_back(at(HOUR + NOTED, 9 * HOUR + NOTED)));
    for boot in [MINUTE, 2 * MINUTE] {
        let mut clock = note.open();
        assert!(clock.is_set_back(at(HOUR, boot)), "noted by then");
        assert!(clock.is_set_back(at(2 * HOUR, boot)), "until it is another");
    }
    let mut clock = note.open();
    assert!(clock.is_set_back(at(HOUR, MINUTE)));
    clock.begin_anew(at(HOUR, MINUTE));
    assert!(!note.open().is_set_back(at(HOUR, MINUTE)));
    fs::write(&note.0, "no time").unwrap();
    assert!(!note.open().is_set_back(at(Duration::ZERO, MINUTE)));
}
