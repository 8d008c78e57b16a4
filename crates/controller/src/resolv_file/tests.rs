//! The resolver files of what was adopted.

use super::{NAME, Place};
use std::{fs, os::unix::fs::symlink, path::PathBuf};

/// A root with `etc`, beside a file that must not be reached; removed when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vwr-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root/etc")).unwrap();
        fs::write(path.join("host"), "host").unwrap();
        Self(path)
    }

    fn place(&self) -> Place {
        Place::below(&self.0.join("root"), "etc".into()).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_symlink_does_not_lead_out_of_the_root() {
    let tree = Tree::new("links");
    let link = tree.0.join("root/etc").join(NAME);
    let host = tree.0.join("host");
    for target in [host.clone(), PathBuf::from("../../host")] {
        symlink(&target, &link).unwrap();
        assert_eq!(tree.place().read().unwrap(), None, "{target:?}");
        // Inside, the target's folder may be missing: then it is refused.
        let _ = tree.place().write("ours");
        assert_eq!(fs::read_to_string(&host).unwrap(), "host", "{target:?}");
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_folder_that_is_a_symlink_does_not_lead_out_either() {
    let tree = Tree::new("folder");
    fs::remove_dir(tree.0.join("root/etc")).unwrap();
    symlink(&tree.0, tree.0.join("root/etc")).unwrap();
    let _ = tree.place().write("ours");
    assert!(!tree.0.join(NAME).exists());
}

#[test]
fn the_text_is_replaced_in_place_and_put_back() {
    let tree = Tree::new("text");
    let place = tree.place();
    place.write("a longer text\n").unwrap();
    place.write("short\n").unwrap();
    assert_eq!(place.read().unwrap().as_deref(), Some("short\n"));
    let path = tree.0.join("root/etc").join(NAME);
    assert!(place.is(&path).unwrap());
    assert!(!place.is(&tree.0.join("host")).unwrap());
    place.remove().unwrap();
    assert_eq!(place.read().unwrap(), None);
}

#[test]
fn what_is_no_file_is_refused() {
    let tree = Tree::new("fifo");
    fs::create_dir(tree.0.join("root/etc").join(NAME)).unwrap();
    assert!(tree.place().read().is_err());
    assert!(tree.place().write("ours").is_err());
}
