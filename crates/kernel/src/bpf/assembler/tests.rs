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
    code.value_of(Register::R1, 7);
    code.set_wide(Register::R3, 0x1_0000_0002);
    code.times(Register::R2, Register::R3);
    code.differ(Register::R2, Register::R7);
    code.set_bits(Register::R7, 0x7000_0000);
    code.load(Size::Wide, Register::R1, (Register::R1, 8));
    code.jump_if(Register::R1, Is::Less(3), end);
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
        5500100008000000
        630af8ff00000000
        6a0afeff01000000
        1821000007000000
        0000000000000000
        1803000002000000
        0000000001000000
        2f32000000000000
        af72000000000000
        4707000000000070
        7911080000000000
        a501050003000000
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
