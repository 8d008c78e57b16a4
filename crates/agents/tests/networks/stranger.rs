//! What a stranger on the segment sees, and what it makes up.

use crate::host::Host;
use vw_testkit::wire::{Seen, Wire};

/// A network's packet in clear text (RFC 7348): the header, then a frame.
pub(crate) fn tunnelled(vni: u32, frame: &[u8]) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0];
    packet.extend((vni << 8).to_be_bytes());
    packet.extend(frame);
    packet
}

/// A datagram to port 9 of one container, as if from the other.
pub(crate) fn frame(from: &Host, to: &Host, text: &[u8]) -> Vec<u8> {
    let mut frame = [to.mac.0, from.mac.0].concat();
    frame.extend([8, 0]);
    let udp = 8 + text.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(from.addr.octets());
    ip.extend(to.addr.octets());
    let sum: u32 = ip
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend([0, 7, 0, 9]);
    frame.extend(udp.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(text);
    frame
}

/// Ends a watch with a packet that the switch sends itself.
pub(crate) fn seen_by(switch: &vw_testkit::Host, wire: Wire) -> Seen {
    switch.ip("addr replace 192.0.2.98/24 dev br0");
    wire.seen(switch, "192.0.2.1")
}
