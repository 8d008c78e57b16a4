//! Where the last lines of a log begin.
//!
//! Owns reading backwards, so that the tail of a large log costs the tail alone.

use std::{fs::File, io, os::unix::fs::FileExt};

const BLOCK: u64 = 64 << 10;

/// The offset at which the last `lines` whole lines of the container begin. Parts of a
/// line (`P`) belong to the whole one after them; an unfinished line at the end is one.
pub(super) fn offset(file: &File, lines: u64) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut wanted = lines;
    let mut end = size;
    // Walks over the records from the last; `end` is where the one looked at ends.
    let mut latest = None;
    while end > 0 {
        let start = start_of_record(file, end)?;
        let whole = is_whole(file, start, end)?;
        if whole || latest.is_none() {
            if wanted == 0 {
                return Ok(end);
            }
            wanted -= 1;
        }
        latest = Some(start);
        end = start;
    }
    Ok(0)
}

fn start_of_record(file: &File, end: u64) -> io::Result<u64> {
    // The line feed that ends the record itself does not count.
    let mut upper = end - 1;
    let mut block = vec![0; usize::try_from(BLOCK.min(end)).unwrap_or(0)];
    while upper > 0 {
        let lower = upper.saturating_sub(BLOCK);
        let part = &mut block[..usize::try_from(upper - lower).unwrap_or(0)];
        file.read_exact_at(part, lower)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(lower + at as u64 + 1);
        }
        upper = lower;
    }
    Ok(0)
}

/// Whether the record ends a line of the container.
fn is_whole(file: &File, start: u64, end: u64) -> io::Result<bool> {
    // Time, stream and flag take less than this.
    let mut head = [0; 64];
    let length = usize::try_from((end - start).min(64)).unwrap_or(64);
    file.read_exact_at(&mut head[..length], start)?;
    Ok(head[..length].split(|byte| *byte == b' ').nth(2) == Some(b"F"))
}
