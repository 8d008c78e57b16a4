//! Documents keep their order.

use super::indent;
use expect_test::expect;

#[test]
fn documents_keep_their_order_and_texts() {
    let document = r#" {"b":[1, 2],"a":{},"e":[ ],"t":"{\"x\":[\\\"]}", "n":null} "#;
    expect![[r#"
        {
            "b": [
                1,
                2
            ],
            "a": {},
            "e": [],
            "t": "{\"x\":[\\\"]}",
            "n": null
        }"#]]
    .assert_eq(&indent(document, ""));
    expect![[r#"
        [
                1
            ]"#]]
    .assert_eq(&indent("[1]", "    "));
}
