//! Columns as tabwriter puts them.

use super::align;
use expect_test::{Expect, expect};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&align(text).replace(' ', "."));
}

#[test]
fn columns_are_tabwriters() {
    check(
        "A\tB\nlong cell here\tx\n",
        expect![[r#"
        A................B
        long.cell.here...x
    "#]],
    );
    check(
        "ID\tNAME\tX\n1\tn\t\n",
        expect![[r#"
        ID........NAME......X
        1.........n.........
    "#]],
    );
    check(
        "é\tx\n",
        expect![[r#"
        é.........x
    "#]],
    );
    check(
        "a\tb\nno columns\nlonger than ten\tb\n",
        expect![[r#"
        a.........b
        no.columns
        longer.than.ten...b
    "#]],
    );
    check("", expect![""]);
}
