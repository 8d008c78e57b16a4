//! Instructions of eBPF as bytes (RFC 9669), by what they do.

use super::Word;
use std::os::fd::RawFd;

const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const ADD_NUMBER: u8 = 0x07;
const ADD: u8 = 0x0f;
const MULTIPLY: u8 = 0x2f;
const OR: u8 = 0x4f;
const OR_NUMBER: u8 = 0x47;
const AND_NUMBER: u8 = 0x57;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const XOR_NUMBER: u8 = 0xa7;
const XOR: u8 = 0xaf;
const TO_BIG_ENDIAN: u8 = 0xdc;
const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const STORE_NUMBER: u8 = 0x62;
const LOAD_WIDE: u8 = 0x18;
/// What a wide load's number is: the descriptor of a map whose value is meant.
const PSEUDO_MAP_VALUE: u8 = 2;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// A register.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Register {
    /// What a function answers.
    R0,
    /// Arguments of functions, which do not outlast a call.
    R1,
    /// See `R1`.
    R2,
    /// See `R1`.
    R3,
    /// See `R1`.
    R4,
    /// See `R1`.
    R5,
    /// These outlast calls.
    R6,
    /// See `R6`.
    R7,
    /// See `R6`.
    R8,
    /// The end of the stack.
    Frame = 10,
}

/// How much is loaded or stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// 32 bits.
    Word = 0x00,
    /// 16 bits.
    Half = 0x08,
    /// 8 bits.
    Byte = 0x10,
    /// 64 bits.
    Wide = 0x18,
}

/// A condition; the other side is a register or a number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Is {
    /// Equal to a number.
    Equal(i32),
    /// Not equal to a number.
    Not(i32),
    /// Has one of a number's bits.
    Has(i32),
    /// Equal to a register.
    Same(Register),
    /// Greater than a register, without a sign.
    Above(Register),
    /// Greater than a number, without a sign.
    Greater(i32),
    /// Less than a number, without a sign.
    Less(i32),
}

/// A place to jump to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label(usize);

/// A program under construction.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    code: Vec<Word>,
    labels: Vec<usize>,
    /// Where jumps stand, and to which label they lead.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that is placed later.
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(0);
        Label(self.labels.len() - 1)
    }

    /// Puts a label here; jumps to it lead forward.
    pub(crate) fn place(&mut self, label: Label) {
        self.labels[label.0] = self.code.len();
    }

    pub(crate) fn copy(&mut self, to: Register, from: Register) {
        self.put(MOVE, to as u8, from as u8, 0, 0);
    }

    pub(crate) fn set(&mut self, to: Register, number: i32) {
        self.put(MOVE_NUMBER, to as u8, 0, 0, number);
    }

    pub(crate) fn add(&mut self, to: Register, number: i32) {
        self.put(ADD_NUMBER, to as u8, 0, 0, number);
    }

    /// Adds a register.
    pub(crate) fn plus(&mut self, to: Register, other: Register) {
        self.put(ADD, to as u8, other as u8, 0, 0);
    }

    /// Multiplies by a register.
    pub(crate) fn times(&mut self, to: Register, other: Register) {
        self.put(MULTIPLY, to as u8, other as u8, 0, 0);
    }

    /// Sets the bits of a register besides.
    pub(crate) fn or(&mut self, to: Register, other: Register) {
        self.put(OR, to as u8, other as u8, 0, 0);
    }

    /// Sets the bits of a number besides.
    pub(crate) fn set_bits(&mut self, to: Register, number: i32) {
        self.put(OR_NUMBER, to as u8, 0, 0, number);
    }

    /// Keeps the bits of a number.
    pub(crate) fn mask(&mut self, to: Register, number: i32) {
        self.put(AND_NUMBER, to as u8, 0, 0, number);
    }

    /// Turns the bits of a number over.
    pub(crate) fn flip(&mut self, to: Register, number: i32) {
        self.put(XOR_NUMBER, to as u8, 0, 0, number);
    }

    /// Turns the bits of a register over.
    pub(crate) fn differ(&mut self, to: Register, other: Register) {
        self.put(XOR, to as u8, other as u8, 0, 0);
    }

    pub(crate) fn shift_left(&mut self, to: Register, bits: i32) {
        self.put(SHIFT_LEFT, to as u8, 0, 0, bits);
    }

    pub(crate) fn shift_right(&mut self, to: Register, bits: i32) {
        self.put(SHIFT_RIGHT, to as u8, 0, 0, bits);
    }

    /// Keeps as many bits, from the host's order to that of the network, or back.
    pub(crate) fn swap(&mut self, to: Register, bits: i32) {
        self.put(TO_BIG_ENDIAN, to as u8, 0, 0, bits);
    }

    /// Loads from so many octets behind an address.
    pub(crate) fn load(&mut self, size: Size, to: Register, (from, offset): (Register, i16)) {
        self.put(LOAD | size as u8, to as u8, from as u8, offset, 0);
    }

    /// Stores a register at so many octets behind an address.
    pub(crate) fn store(&mut self, size: Size, (to, offset): (Register, i16), from: Register) {
        self.put(STORE | size as u8, to as u8, from as u8, offset, 0);
    }

    /// Stores a number likewise.
    pub(crate) fn store_number(&mut self, size: Size, (to, offset): (Register, i16), number: i32) {
        self.put(STORE_NUMBER | size as u8, to as u8, 0, offset, number);
    }

    /// Jumps where a register fulfils a condition.
    pub(crate) fn jump_if(&mut self, register: Register, is: Is, to: Label) {
        self.jumps.push((self.code.len(), to));
        let (operation, other, number) = match is {
            Is::Equal(number) => (0x15, 0, number),
            Is::Not(number) => (0x55, 0, number),
            Is::Has(number) => (0x45, 0, number),
            Is::Same(other) => (0x1d, other as u8, 0),
            Is::Above(other) => (0x2d, other as u8, 0),
            Is::Greater(number) => (0x25, 0, number),
            Is::Less(number) => (0xa5, 0, number),
        };
        self.put(operation, register as u8, other, 0, number);
    }

    /// Sets a register to a number of 64 bits.
    pub(crate) fn set_wide(&mut self, to: Register, number: u64) {
        self.put(LOAD_WIDE, to as u8, 0, 0, number as i32);
        self.put(0, 0, 0, 0, (number >> 32) as i32);
    }

    /// Has a register lead to the value of a map that has one, by the map's descriptor.
    pub(crate) fn value_of(&mut self, to: Register, map: RawFd) {
        self.put(LOAD_WIDE, to as u8, PSEUDO_MAP_VALUE, 0, map);
        self.put(0, 0, 0, 0, 0);
    }

    /// Calls a function of the kernel.
    pub(crate) fn call(&mut self, function: i32) {
        self.put(CALL, 0, 0, 0, function);
    }

    /// Ends with the answer in `R0`.
    pub(crate) fn exit(&mut self) {
        self.put(EXIT, 0, 0, 0, 0);
    }

    /// The program.
    pub(crate) fn finish(mut self) -> Vec<Word> {
        for (at, label) in self.jumps {
            // Counted from the instruction behind it.
            let distance = (self.labels[label.0] - at - 1) as i16;
            self.code[at][2..4].copy_from_slice(&distance.to_ne_bytes());
        }
        self.code
    }

    fn put(&mut self, operation: u8, to: u8, from: u8, offset: i16, number: i32) {
        // Bit fields of one octet, whose order is that of the octets in a number.
        let registers = match cfg!(target_endian = "big") {
            true => to << 4 | from,
            false => from << 4 | to,
        };
        let [a, b] = offset.to_ne_bytes();
        let [c, d, e, f] = number.to_ne_bytes();
        self.code.push([operation, registers, a, b, c, d, e, f]);
    }
}

#[cfg(test)]
mod tests;
