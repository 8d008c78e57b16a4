//! The program by which frames pass a bridge by.
//!
//! Owns which frames do. It must not know how it comes to see them.

use super::slots::{BEYOND, DEPTH, ELSEWHERE, FACTOR, LINK_END, TO_BUCKET, TO_REST};
use crate::bpf::{Assembler, Is, Label, Register, Size, Word};
use std::os::fd::RawFd;

/// Fields of a frame (`struct __sk_buff`).
const PROTOCOL: i16 = 16;
const VLAN_PRESENT: i16 = 20;
const IFINDEX: i16 = 40;
const DATA: i16 = 76;
const DATA_END: i16 = 80;

/// Functions (`enum bpf_func_id`).
const REDIRECT: i32 = 23;
const SKB_CHANGE_TYPE: i32 = 32;
const REDIRECT_PEER: i32 = 155;

/// `TC_ACT_UNSPEC`: as if there were no program.
const GO_ON: i32 = -1;
const PACKET_HOST: i32 = 0;

/// Where what is known of the frame, and the frame, are to be found.
const CONTEXT: Register = Register::R6;
const FRAME: Register = Register::R8;
/// And where a slot's word is, in the end the link of the receiver's.
const LINK: Register = Register::R7;

/// Where a frame has its addresses.
const RECEIVER: i16 = 0;
const SENDER: i16 = 6;

/// Octets of a slot, and of a bucket.
const SLOT: usize = size_of::<u64>();
const BUCKET: usize = DEPTH * SLOT;

/// The program. Whatever it does not know, the bridge gets: frames that are no IP (ARP is answered
/// by those who are asked), tagged ones, those from or to groups, those from or to stations that are
/// in no entry, and those that would go out where they came in. A sender in no entry is one that the
/// bridge must see again and again: else it forgets him and floods what is for him. None is too
/// long: a pair takes no frame that is longer than its ends' MTU, and all links of a network have
/// the same.
pub(super) fn program(map: RawFd) -> Vec<Word> {
    let mut code = Assembler::default();
    let (bridge, elsewhere) = (code.label(), code.label());
    code.copy(CONTEXT, Register::R1);
    check_frame(&mut code, bridge);
    look_up(&mut code, map, SENDER, bridge);
    look_up(&mut code, map, RECEIVER, bridge);
    code.load(Size::Word, Register::R1, (CONTEXT, IFINDEX));
    code.jump_if(LINK, Is::Has(ELSEWHERE as i32), elsewhere);
    code.jump_if(LINK, Is::Same(Register::R1), bridge);
    // Its destination is that of the pair's other end, not of the one where it came in.
    code.copy(Register::R1, CONTEXT);
    code.set(Register::R2, PACKET_HOST);
    code.call(SKB_CHANGE_TYPE);
    redirect(&mut code, REDIRECT_PEER);

    code.place(elsewhere);
    code.set_bits(LINK, BEYOND as i32);
    code.jump_if(LINK, Is::Same(Register::R1), bridge);
    redirect(&mut code, REDIRECT);

    code.place(bridge);
    code.set(Register::R0, GO_ON);
    code.exit();
    code.finish()
}

/// Has `LINK` tell where an address of the frame is, and leaves it to the bridge where there is no
/// entry. No function is called: two look-ups in a hash map were half of the program's time.
fn look_up(code: &mut Assembler, map: RawFd, address: i16, bridge: Label) {
    code.load(Size::Word, Register::R2, (FRAME, address));
    code.load(Size::Half, Register::R1, (FRAME, address + 4));
    code.shift_left(Register::R1, u32::BITS as i32);
    code.or(Register::R2, Register::R1);
    code.set_wide(Register::R1, FACTOR);
    code.times(Register::R2, Register::R1);
    code.copy(Register::R1, Register::R2);
    code.shift_right(Register::R1, TO_BUCKET as i32);
    code.shift_left(Register::R1, BUCKET.ilog2() as i32);
    code.value_of(Register::R0, map);
    code.plus(Register::R0, Register::R1);
    code.shift_left(Register::R2, TO_REST as i32);
    let found = code.label();
    for slot in 0..DEPTH {
        code.load(Size::Wide, LINK, (Register::R0, (slot * SLOT) as i16));
        code.differ(LINK, Register::R2);
        match slot + 1 < DEPTH {
            true => code.jump_if(LINK, Is::Less(LINK_END as i32), found),
            false => code.jump_if(LINK, Is::Greater(LINK_END as i32 - 1), bridge),
        }
    }
    code.place(found);
    // A free slot is nobody's, though all of an address may be told by its bucket.
    code.jump_if(LINK, Is::Equal(0), bridge);
}

/// Leaves what is no plain IP frame of a station's to the bridge; the frame is to be found then.
fn check_frame(code: &mut Assembler, bridge: Label) {
    let ip = code.label();
    code.load(Size::Word, FRAME, (CONTEXT, DATA));
    code.load(Size::Word, Register::R3, (CONTEXT, DATA_END));
    code.copy(Register::R4, FRAME);
    code.add(Register::R4, 14);
    code.jump_if(Register::R4, Is::Above(Register::R3), bridge);
    code.load(Size::Word, Register::R0, (CONTEXT, VLAN_PRESENT));
    code.jump_if(Register::R0, Is::Not(0), bridge);
    let number = |kind: i32| i32::from((kind as u16).to_be());
    code.load(Size::Word, Register::R0, (CONTEXT, PROTOCOL));
    code.jump_if(Register::R0, Is::Equal(number(libc::ETH_P_IP)), ip);
    code.jump_if(Register::R0, Is::Not(number(libc::ETH_P_IPV6)), bridge);
    code.place(ip);
    // A bridge takes no frame of a sender that is a group, or nobody.
    code.load(Size::Byte, Register::R0, (FRAME, SENDER));
    code.jump_if(Register::R0, Is::Has(1), bridge);
    code.load(Size::Word, Register::R0, (FRAME, SENDER));
    code.jump_if(Register::R0, Is::Equal(0), bridge);
}

/// Ends with the frame on its way by `LINK`.
fn redirect(code: &mut Assembler, how: i32) {
    code.copy(Register::R1, LINK);
    code.set(Register::R2, 0);
    code.call(how);
    code.exit();
}
