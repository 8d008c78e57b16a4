//! What a stranger on the segment sees, and what it makes up.

use crate::host::Host;
use std::{fs, path::PathBuf, time::Duration};
use vw_testkit::{Lab, Running, eventually, traffic};

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

/// A watch on all that passes a switch.
pub(crate) struct Wire<'a> {
    switch: &'a vw_testkit::Host,
    file: PathBuf,
    watcher: Running,
}

/// What passed.
pub(crate) struct Seen(Vec<Vec<u8>>);

impl<'a> Wire<'a> {
    pub(crate) fn watch(lab: &Lab, switch: &'a vw_testkit::Host) -> Self {
        let file = lab.folder().join("wire.pcap");
        // That of an earlier watch.
        let _ = fs::remove_file(&file);
        let watcher = switch.spawn(["tcpdump", "-U", "-i", "br0", "-w", file.to_str().unwrap()]);
        let begun = || fs::metadata(&file).is_ok_and(|file| file.len() >= 24);
        eventually("tcpdump listens", Duration::from_secs(10), begun);
        Self {
            switch,
            file,
            watcher,
        }
    }

    pub(crate) fn seen(self) -> Seen {
        // What passed is in the file once something later is.
        self.switch.ip("addr replace 192.0.2.98/24 dev br0");
        let last = [192, 0, 2, 98];
        let mut bytes = Vec::new();
        eventually("the last is seen", Duration::from_secs(10), || {
            // The answer is not asked for.
            let _ = traffic::ping(self.switch, "192.0.2.1");
            bytes = fs::read(&self.file).unwrap();
            bytes.windows(4).any(|part| part == last)
        });
        drop(self.watcher);
        // A header of 24, then each packet behind 16 with its length.
        let mut rest = &bytes[24..];
        let mut packets = Vec::new();
        while let Some((header, behind)) = rest.split_at_checked(16) {
            let length = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
            let Some((packet, behind)) = behind.split_at_checked(length) else {
                break;
            };
            packets.push(packet.to_vec());
            rest = behind;
        }
        Seen(packets)
    }
}

impl Seen {
    pub(crate) fn holds(&self, text: &[u8]) -> bool {
        let mut packets = self.0.iter();
        packets.any(|packet| packet.windows(text.len()).any(|part| part == text))
    }

    /// Datagrams over IPv4 to a port.
    pub(crate) fn packets_to(&self, port: u16) -> usize {
        let is_to = |packet: &&Vec<u8>| {
            packet.len() > 38
                && packet[12..14] == [8, 0]
                && packet[23] == 17
                && packet[36..38] == port.to_be_bytes()
        };
        self.0.iter().filter(is_to).count()
    }
}
