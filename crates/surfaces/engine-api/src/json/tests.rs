//! Go's reading of JSON.

use super::parse;
use crate::json::go_struct;
use expect_test::expect;
use std::collections::BTreeMap;

go_struct! {
    /// A bit of everything.
    Sample {
        name: String,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        list: Vec<String>,
        nilable: Option<Vec<String>>,
        map: BTreeMap<String, Option<i64>>,
        flag: bool,
    }
}

#[test]
fn null_is_the_zero_value_and_the_unknown_is_ignored() {
    let text = r#"{"Name":null,"IPAddress":"x","List":null,"Map":{"a":null,"b":1},"More":{}}"#;
    let sample: Sample = parse(text.as_bytes()).unwrap();
    let back = serde_json::to_string(&sample).unwrap();
    expect![[
        r#"{"Name":"","IPAddress":"x","List":[],"Nilable":null,"Map":{"a":null,"b":1},"Flag":false}"#
    ]]
    .assert_eq(&back);
}

#[test]
fn what_is_no_document_is_refused() {
    for (text, expected) in [
        (
            "",
            expect!["invalid JSON: got EOF while reading request body"],
        ),
        (
            " \n",
            expect!["invalid JSON: got EOF while reading request body"],
        ),
        (
            " [\"x\"]",
            expect!["invalid JSON: cannot unmarshal array into an object"],
        ),
        ("{}{}", expect!["unexpected content after JSON"]),
        (
            "{\"Flag\":1}",
            expect![
                "invalid JSON: invalid type: integer `1`, expected a boolean at line 1 column 9"
            ],
        ),
    ] {
        expected.assert_eq(&parse::<Sample>(text.as_bytes()).unwrap_err().message);
    }
    let sample: Sample = parse(b" {} \n").unwrap();
    assert_eq!(sample, Sample::default());
}
