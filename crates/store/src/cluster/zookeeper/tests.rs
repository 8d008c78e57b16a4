//! Where records lie, and that every key comes back from its node.

use super::layout::{Layout, is_below};

#[test]
fn every_key_comes_back_from_its_node() {
    let layout = Layout::new("some/where");
    for (key, node) in [
        ("a", "/some/where/records/a"),
        ("a/b", "/some/where/records/a:/b"),
        ("a/b/c-d.e_f", "/some/where/records/a:/b:/c-d.e_f"),
        ("a/b/c/d/e", "/some/where/records/a:/b:/c:/d:/e"),
        ("a/b/c/d/e/f/g", "/some/where/records/a:/b:/c:/d:/e:f:g"),
    ] {
        assert_eq!(layout.node(key), node);
        assert_eq!(layout.key(node).as_deref(), Some(key));
    }
    for other in [
        "/some/where/records",
        "/some/where/records/a:",
        "/some/where/records/a:/b:",
        "/other/records/a/b",
    ] {
        assert_eq!(layout.key(other), None);
    }
}

#[test]
fn what_lies_above_a_node_is_made_from_the_top() {
    assert_eq!(Layout::above("/a/b/c"), ["/a", "/a/b"]);
    assert_eq!(Layout::above("/a"), [""; 0]);
}

#[test]
fn a_folder_holds_what_is_below_a_prefix() {
    let layout = Layout::new("p");
    for (prefix, folder) in [
        ("", "/p/records"),
        ("a", "/p/records/a:"),
        ("a/b", "/p/records/a:/b:"),
        ("a/b/c/d/e", "/p/records/a:/b:/c:/d:"),
    ] {
        assert_eq!(layout.folder_below(prefix), folder);
    }
    assert!(is_below("a/b", "a") && is_below("a", "") && !is_below("ab", "a"));
}
