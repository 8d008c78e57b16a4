//! Changes of keys from end to end, with a carrier that remembers and fails.

use super::*;
use std::{cell::RefCell, fs, path::Path};

/// What was carried under, call by call; fails while it is told to.
#[derive(Default)]
struct Recorder {
    calls: RefCell<Vec<(PublicKey, usize)>>,
    fails: RefCell<bool>,
}

impl Carrier for &Recorder {
    fn carry(&self, ring: &KeyRing, peers: &[Peer]) -> Result<(), KeepError> {
        if *self.fails.borrow() {
            return Err(KeepError::System {
                action: "open the link of",
                source: "it is busy".into(),
            });
        }
        self.calls
            .borrow_mut()
            .push((ring.current.public(), peers.len()));
        Ok(())
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("vw-keeper-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn at(hours: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + HOUR * hours
}

fn open<'a>(recorder: &'a Recorder, folder: &Path, hours: u32) -> Keeper<&'a Recorder> {
    Keeper::open(recorder, folder.join("keys"), HOUR, at(hours)).unwrap()
}

#[test]
fn keys_change_and_the_record_is_asked_for() {
    let folder = Folder::new("change");
    let recorder = Recorder::default();
    let mut keeper = open(&recorder, &folder.0, 0);
    keeper.set_peers(Vec::new()).unwrap();
    let (first, none) = keeper.keys();
    assert_eq!(none, None);
    let seen = BTreeMap::from([(HostId::from_bytes([1; 32]), 4)]);
    assert_eq!(keeper.step(at(0), &seen).unwrap(), Step::Wait(HOUR));
    assert_eq!(keeper.step(at(1), &seen).unwrap(), Step::Tell);
    let (current, next) = keeper.keys();
    assert_eq!(current, first);
    let next = next.expect("a next key");
    // A new process finds the same keys, and asks again.
    drop(keeper);
    let mut keeper = open(&recorder, &folder.0, 1);
    assert_eq!(keeper.keys(), (first, Some(next)));
    assert_eq!(keeper.step(at(1), &seen).unwrap(), Step::Tell);
    keeper.told(5);
    assert!(matches!(keeper.step(at(1), &seen).unwrap(), Step::Await(_)));
    let seen = BTreeMap::from([(HostId::from_bytes([1; 32]), 5)]);
    assert_eq!(keeper.step(at(1), &seen).unwrap(), Step::Use);
    assert_eq!(keeper.keys(), (next, None));
    assert_eq!(*recorder.calls.borrow(), [(first, 0), (next, 0)]);
    assert_eq!(keeper.step(at(1), &seen).unwrap(), Step::Wait(HOUR));
}

#[test]
fn a_carrier_that_fails_is_tried_again_under_the_new_key() {
    let folder = Folder::new("fails");
    let recorder = Recorder::default();
    let mut keeper = open(&recorder, &folder.0, 0);
    let seen = BTreeMap::new();
    assert_eq!(keeper.step(at(1), &seen).unwrap(), Step::Tell);
    keeper.told(1);
    recorder.fails.replace(true);
    let error = keeper.step(at(1), &seen).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open the link of the encrypted tunnel"
    );
    recorder.fails.replace(false);
    keeper.mend().unwrap();
    assert_eq!(*recorder.calls.borrow(), [(keeper.keys().0, 0)]);
}

#[test]
fn a_key_that_cannot_be_kept_is_not_used() {
    let folder = Folder::new("kept");
    let recorder = Recorder::default();
    let mut keeper = open(&recorder, &folder.0, 0);
    let keys = keeper.keys();
    fs::remove_dir_all(&folder.0).unwrap();
    assert!(matches!(
        keeper.step(at(1), &BTreeMap::new()),
        Err(KeepError::Keys(_))
    ));
    assert_eq!(keeper.keys(), keys);
}
