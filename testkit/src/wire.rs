//! What passes a switch between hosts, as tcpdump sees it there.
//!
//! Owns when a watch has begun and when all is in it. What a packet means its test decides.

use crate::{Host, Lab, Running, eventually};
use std::{fs, path::PathBuf, time::Duration};

/// The last packet of a watch: an echo request filled with this.
const LAST: u8 = 0xee;

/// A watch on all that passes.
#[derive(Debug)]
pub struct Wire {
    file: PathBuf,
    watcher: Running,
}

/// What passed, each with its Ethernet header.
#[derive(Debug)]
pub struct Seen(Vec<Vec<u8>>);

impl Wire {
    /// Begins to watch a switch of a lab (its bridge is `br0`).
    #[track_caller]
    #[must_use]
    pub fn watch(lab: &Lab, switch: &Host) -> Self {
        let file = lab.folder().join("wire.pcap");
        // That of an earlier watch.
        let _ = fs::remove_file(&file);
        let watcher = switch.spawn([
            "tcpdump",
            "-U",
            "-i",
            "br0",
            "-w",
            file.to_str().expect("a path of ours"),
        ]);
        let begun = || fs::metadata(&file).is_ok_and(|file| file.len() >= 24);
        eventually("tcpdump listens", Duration::from_secs(10), begun);
        Self { file, watcher }
    }

    /// Ends the watch with a packet from a host to another one's address, which need not answer.
    #[track_caller]
    #[must_use]
    pub fn seen(self, host: &Host, to: &str) -> Seen {
        let pattern = format!("{LAST:x}");
        let ping = [
            "busybox", "ping", "-c", "1", "-W", "1", "-s", "64", "-p", &pattern, to,
        ];
        let mut bytes = Vec::new();
        // What passed is in the file once something later is.
        eventually("the last is seen", Duration::from_secs(10), || {
            // The answer is not asked for.
            let _ = host.run(ping);
            bytes = fs::read(&self.file).expect("tcpdump made it");
            bytes.windows(32).any(|part| part == [LAST; 32])
        });
        drop(self.watcher);
        // A header of 24, then each packet behind 16 with its length.
        let mut rest = &bytes[24..];
        let mut packets = Vec::new();
        while let Some((header, behind)) = rest.split_at_checked(16) {
            let length = header[8..12].try_into().expect("four bytes");
            let length = u32::from_ne_bytes(length) as usize;
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
    /// Whether a packet holds this in clear text.
    #[must_use]
    pub fn holds(&self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        let mut packets = self.0.iter();
        packets.any(|packet| packet.windows(text.len()).any(|part| part == text))
    }

    /// UDP datagrams to a port.
    #[must_use]
    pub fn packets_to(&self, port: u16) -> usize {
        let is_to = |packet: &&Vec<u8>| {
            let (protocol, at) = match packet.get(12..14) {
                Some([8, 0]) => (packet.get(23), 36),
                Some([0x86, 0xdd]) => (packet.get(20), 56),
                _ => (None, 0),
            };
            protocol == Some(&17) && packet.get(at..at + 2) == Some(&port.to_be_bytes())
        };
        self.0.iter().filter(is_to).count()
    }
}
