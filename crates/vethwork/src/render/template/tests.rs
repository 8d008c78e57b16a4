//! Docker's functions, methods of fields, and errors.

use super::{Template, value_of};
use expect_test::{Expect, expect};
use gotmpl::Value;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

fn data() -> Value {
    let document = json!({
        "Id": "abc", "Names": "a,b", "N": 3, "Big": u64::MAX, "F": 1.5, "None": null,
        "List": ["x", "y"], "Map": {"k": {"v": 1}}, "Text": "two words",
    });
    let Value::Map(map) = value_of(&document) else {
        unreachable!()
    };
    let mut map: BTreeMap<Arc<str>, Value> = (*map).clone();
    let label = |args: &[Value]| Ok(Value::String(format!("<{}>", args[0]).into()));
    map.insert("Label".into(), Value::Function(Arc::new(label)));
    Value::Map(Arc::new(map))
}

fn check(template: &str, expected: Expect) {
    let done = Template::parse(template).and_then(|template| template.execute(&data()));
    expected.assert_eq(&done.unwrap_or_else(|error| format!("ERROR {error}")));
}

#[test]
fn templates_have_dockers_functions() {
    check(
        "{{.Id}} {{.N}} {{.Big}} {{.F}}",
        expect!["abc 3 18446744073709551615 1.5"],
    );
    check(
        "{{json .Map}} {{json .List}} {{json .Text}}",
        expect![[r#"{"k":{"v":1}} ["x","y"] "two words""#]],
    );
    check(r#"{{join (split .Names ",") "-"}}"#, expect!["a-b"]);
    check(
        "{{title .Text}} {{upper .Id}} {{lower .Id}}",
        expect!["Two Words ABC abc"],
    );
    check(
        "[{{pad .Id 1 2}}] {{truncate .Text 3}}",
        expect!["[ abc  ] two"],
    );
    check(
        "{{range $k, $v := .Map}}{{$k}}={{$v.v}}{{end}}",
        expect!["k=1"],
    );
    check(r#"{{index .List 1}} {{len .List}}"#, expect!["y 2"]);
    check(
        "{{println .Id}}",
        expect![[r#"
        abc
    "#]],
    );
}

#[test]
fn fields_can_be_called() {
    check(
        r#"{{.Label "x"}} {{$.Label "y" | upper}}"#,
        expect!["<x> <Y>"],
    );
    check(r#"{{if eq (.Label "x") "<x>"}}yes{{end}}"#, expect!["yes"]);
    check(
        r#"{{range .List}}{{$.Label .}}{{end}}{{"z" | .Label}}"#,
        expect!["<x><y><z>"],
    );
}

#[test]
fn errors_name_what_is_wrong() {
    check(
        "{{.Nope}}",
        expect![
            "ERROR failed to execute template: there is no field Nope; there are: Big, F, Id, Label, List, Map, N, Names, None, Text"
        ],
    );
    check(
        "{{.Id",
        expect!["ERROR template parsing error: template: 1:6: unclosed action"],
    );
    check(
        "{{nope .Id}}",
        expect!["ERROR failed to execute template: undefined function: nope"],
    );
}

#[test]
fn headings_are_not_computed() {
    let template = Template::parse_for_headings(r#"{{json .Id}} {{upper .Id}} {{split .Id ","}}"#);
    assert_eq!(template.unwrap().execute(&data()).unwrap(), "abc abc abc");
}
