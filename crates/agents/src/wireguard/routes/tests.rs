//! Prefixes and the addresses they cover.

use super::*;

#[test]
fn the_longest_prefix_wins() {
    let mut routes = Routes::default();
    for (prefix, name) in [
        ("10.0.0.0/8", "wide"),
        ("10.1.0.0/16", "narrow"),
        ("10.1.2.3/32", "one"),
        ("fd00::/48", "six"),
        ("fd00::1/128", "six one"),
        ("10.1.0.0/16", "narrow again"),
    ] {
        routes.insert(prefix.parse().unwrap(), name);
    }
    for (address, expected) in [
        ("10.1.2.3", Some("one")),
        ("10.1.2.4", Some("narrow again")),
        ("10.2.0.1", Some("wide")),
        ("11.0.0.1", None),
        ("fd00::1", Some("six one")),
        ("fd00::2", Some("six")),
        ("fd00:0:1::2", None),
        ("::", None),
    ] {
        let found = routes.find(address.parse().unwrap()).copied();
        assert_eq!(found, expected, "{address}");
    }
}

#[test]
fn what_is_taken_away_covers_nothing_and_what_another_has_stays() {
    let mut routes = Routes::default();
    for (prefix, name) in [("10.0.0.0/8", "wide"), ("10.1.0.0/16", "narrow")] {
        routes.insert(prefix.parse().unwrap(), name);
    }
    let former = routes.clone();
    let find = |routes: &Routes<_>| routes.find("10.1.2.3".parse().unwrap()).copied();
    let narrow = || "10.1.0.0/16".parse().unwrap();
    routes.remove(narrow(), |name| *name == "another");
    assert_eq!(find(&routes), Some("narrow"));
    routes.remove(narrow(), |name| *name == "narrow");
    assert_eq!(find(&routes), Some("wide"));
    routes.remove(narrow(), |_| true);
    assert_eq!(find(&former), Some("narrow"));
}
