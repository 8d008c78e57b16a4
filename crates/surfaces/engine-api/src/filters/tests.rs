//! Filters as moby matches them.

use super::Filters;
use crate::errors::ApiError;
use vw_model::Options;

fn filters(text: &str) -> Filters {
    Filters::parse(text).unwrap()
}

#[test]
fn both_forms_are_read() {
    assert_eq!(
        filters(r#"{"a":{"x":true,"y":true}}"#),
        filters(r#"{"a":["y","x"]}"#)
    );
    assert_eq!(filters(""), Filters::default());
    for bad in ["x", "[]", r#"{"a":1}"#] {
        assert_eq!(
            Filters::parse(bad),
            Err(ApiError::bad_request("invalid filter")),
            "{bad}"
        );
    }
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let error = filters(r#"{"a":["x"],"b":["y"]}"#)
        .accept(&["a"])
        .unwrap_err();
    assert_eq!(error.message, "invalid filter 'b'");
}

#[test]
fn values_match_by_text_or_regular_expression() {
    for (value, text, found) in [
        ("web", "web", true),
        ("web", "my-web-1", true),
        ("^web$", "my-web-1", false),
        ("^/?web$", "web", true),
        ("[", "x", false),
        ("[", "[", true),
    ] {
        let filters = filters(&format!(r#"{{"name":["{value}"]}}"#));
        assert_eq!(filters.matches("name", text), found, "{value} {text}");
    }
    assert!(filters("").matches("name", "anything"));
}

#[test]
fn labels_must_all_be_held() {
    let labels = Options::from([("a".into(), "1".into()), ("b".into(), String::new())]);
    for (asked, all, none) in [
        (r#"["a"]"#, true, false),
        (r#"["a=1","b"]"#, true, false),
        (r#"["a=2"]"#, false, true),
        (r#"["a","c"]"#, false, false),
        (r#"["c"]"#, false, true),
    ] {
        let filters = filters(&format!(r#"{{"label":{asked}}}"#));
        assert_eq!(filters.labels("label", &labels), all, "{asked}");
        assert_eq!(filters.no_labels("label", &labels), none, "{asked}");
    }
}

#[test]
fn truths_are_few() {
    assert_eq!(filters("").truth("x"), Ok(None));
    assert_eq!(filters(r#"{"x":["1"]}"#).truth("x"), Ok(Some(true)));
    assert_eq!(filters(r#"{"x":["false"]}"#).truth("x"), Ok(Some(false)));
    assert!(filters(r#"{"x":["yes"]}"#).truth("x").is_err());
    assert!(filters(r#"{"x":["0","1"]}"#).truth("x").is_err());
}
