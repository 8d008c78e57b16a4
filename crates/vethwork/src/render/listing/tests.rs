//! One list in every format.

use super::{Listing, Row};
use expect_test::{Expect, expect};

const LISTING: Listing = Listing {
    columns: &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Labels", "LABELS")],
    table: "{{.ID}}\t{{.Name}}",
    quiet: "{{.ID}}",
};

fn check(format: Option<&str>, quiet: bool, expected: Expect) {
    let labels = [("a.b-c".to_owned(), "d".to_owned())].into();
    let rows = ["one", "a rather long name"].map(|name| {
        Row::default()
            .field("ID", &name[..1])
            .field("Name", name)
            .labels(&labels)
    });
    let done = LISTING.render(format, quiet, rows.into());
    expected.assert_eq(&done.unwrap_or_else(|error| error.to_string()));
}

#[test]
fn lists_come_in_every_format() {
    check(
        None,
        false,
        expect![[r#"
        NETWORK ID   NAME
        o            one
        a            a rather long name
    "#]],
    );
    check(
        Some("json"),
        false,
        expect![[r#"
        {"ID":"o","Labels":"a.b-c=d","Name":"one"}
        {"ID":"a","Labels":"a.b-c=d","Name":"a rather long name"}
    "#]],
    );
    check(
        Some("{{.Name}}"),
        true,
        expect![[r#"
        o
        a
    "#]],
    );
    check(
        Some(r#"{{.Name}}\t{{.Label "a.b-c"}}"#),
        false,
        expect![[r#"
        one	d
        a rather long name	d
    "#]],
    );
    check(
        Some(r#"table {{upper .Name}}\t{{.Label "a.b-c"}}"#),
        false,
        expect![[r#"
        NAME                 b c
        ONE                  d
        A RATHER LONG NAME   d
    "#]],
    );
    check(
        Some("{{.Nope}}"),
        false,
        expect![
            "failed to execute template: there is no field Nope; there are: ID, Label, Labels, Name"
        ],
    );
}
