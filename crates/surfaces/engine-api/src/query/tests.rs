//! Query values as Docker reads them.

use super::{Query, percent_decode};
use proptest::prelude::*;

#[test]
fn forms_are_decoded() {
    let query = Query::parse("a=1&b=%7B%22x%22%7D&a=2&c&d=x+y&e=%zz&&=v");
    assert_eq!(query.get("a"), "1");
    assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(query.get("b"), "{\"x\"}");
    assert_eq!(query.given("c"), None);
    assert_eq!(query.get("d"), "x y");
    assert_eq!(query.get("e"), "%zz");
}

#[test]
fn truth_is_dockers() {
    for (text, truth) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("x", true),
        ("", false),
        ("0", false),
        (" False ", false),
        ("NO", false),
        ("none", false),
    ] {
        let query = Query(vec![("k".to_owned(), text.to_owned())]);
        assert_eq!(query.truth("k"), truth, "{text:?}");
    }
}

#[test]
fn numbers_are_whole() {
    let query = Query::parse("t=-1&u=x&h=24&w=80&v=70000");
    assert_eq!(query.integer("t"), Ok(Some(-1)));
    assert_eq!(query.integer("missing"), Ok(None));
    let error = query.integer("u").unwrap_err();
    assert_eq!(error.message, "strconv.Atoi: parsing \"x\": invalid syntax");
    assert_eq!(query.terminal_size(), Ok((24, 80)));
    assert!(Query::parse("h=1&w=70000").terminal_size().is_err());
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(text in "\\PC{0,20}") {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(percent_decode(&encoded), text);
    }

    #[test]
    fn nothing_makes_it_panic(text in "[%&=+a-f0-9é]{0,30}") {
        let _ = Query::parse(&text);
    }
}
