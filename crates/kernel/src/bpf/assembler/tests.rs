//! Instructions as RFC 9669 numbers them.

use super::*;
use expect_test::expect;

#[test]
#[cfg(target_endian = "little")]
fn instructions_are_as_the_standard_has_them() {
    let mut code = Assembler::default();
    let end = code.label();
    code.copy(Register::R6, Register::R1);
    code.load(Size::Half, Register::R0, (Register::R6, 16));
    code.jump_if(Register::R0, Is::Not(8), end);
    code.store(Size::Word, (Register::Frame, -8), Register::R0);
    code.store_number(Size::Half, (Register::Frame, -2), 1);
    code.map(Register::R1, 7);
    code.add(Register::R2, -8);
    code.call(1);
    code.jump_if(Register::R1, Is::Same(Register::R7), end);
    code.jump_if(Register::R1, Is::Above(Register::R4), end);
    code.jump_if(Register::R1, Is::Has(1), end);
    code.place(end);
    code.set(Register::R0, -1);
    code.exit();
    let shown: String = code
        .finish()
        .iter()
        .map(|word| {
            word.iter()
                .map(|octet| format!("{octet:02x}"))
                .collect::<String>()
                + "\n"
        })
        .collect();
    expect![[r#"
        bf16000000000000
        6960100000000000
        5500090008000000
        630af8ff00000000
        6a0afeff01000000
        1811000007000000
        0000000000000000
        07020000f8ffffff
        8500000001000000
        1d71020000000000
        2d41010000000000
        4501000001000000
        b7000000ffffffff
        9500000000000000
    "#]]
    .assert_eq(&shown);
}
