//! The file: who may read it, and what is made of what it holds.

use super::*;
use std::os::unix::fs::MetadataExt;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("vw-keys-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("tunnel.keys")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn shown(ring: &KeyRing) -> [Option<vw_model::PublicKey>; 3] {
    let public = PrivateKey::public;
    [
        Some(ring.current.public()),
        ring.next.as_ref().map(public),
        ring.former.as_ref().map(public),
    ]
}

#[test]
fn keys_are_made_once_and_kept_for_their_owner_alone() {
    let folder = Folder::new("once");
    let ring = KeyRing::open(&folder.file(), at(7)).unwrap();
    assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o777, 0o600);
    fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o644)).unwrap();
    let again = KeyRing::open(&folder.file(), at(8)).unwrap();
    assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o777, 0o600);
    assert_eq!((shown(&again), again.since), (shown(&ring), at(7)));
}

#[test]
fn every_state_of_a_change_is_kept() {
    let folder = Folder::new("change");
    let mut ring = KeyRing::open(&folder.file(), at(7)).unwrap();
    let key = || PrivateKey::generate().unwrap();
    let steps: [&dyn Fn(&mut KeyRing); 4] = [
        &|ring| ring.begin(key()),
        &|ring| ring.advance(at(9)),
        &|ring| ring.begin(key()),
        &|ring| ring.advance(at(11)),
    ];
    for step in steps {
        step(&mut ring);
        // What an interrupted write left is in nobody's way.
        fs::write(folder.file().with_extension("new"), b"half").unwrap();
        ring.save(&folder.file()).unwrap();
        let kept = KeyRing::open(&folder.file(), at(0)).unwrap();
        assert_eq!((shown(&kept), kept.since), (shown(&ring), ring.since));
    }
    assert!(!folder.file().with_extension("new").exists());
}

#[test]
fn another_file_is_refused_and_left_alone() {
    let folder = Folder::new("other");
    let mut newer = *KeyRing::open(&folder.file(), at(7)).unwrap().encode();
    newer[7] = b'2';
    for content in [
        &b""[..],
        b"vwkeys01",
        &[0; LENGTH],
        &newer,
        &[1; LENGTH + 50],
    ] {
        fs::write(folder.file(), content).unwrap();
        let error = KeyRing::open(&folder.file(), at(7)).unwrap_err();
        assert!(matches!(error, KeyFileError::Form { .. }), "{error}");
        assert_eq!(fs::read(folder.file()).unwrap(), content);
    }
}
