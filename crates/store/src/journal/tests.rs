//! What the bytes of a journal are taken for, cut or changed anywhere.

use super::frame::{self, End};
use crate::{Batch, Table};

fn batches() -> Vec<Batch> {
    let batch = |n: u8| Batch::new().put(Table::Leases, format!("key-{n}"), vec![n; 9]);
    vec![batch(1), batch(2).delete(Table::Meta, "gone"), batch(3)]
}

fn journal() -> Vec<u8> {
    let mut bytes = frame::header(7, "boot");
    for batch in batches() {
        bytes.extend(frame::encode(&batch));
    }
    bytes
}

#[test]
fn a_whole_journal_reads_back() {
    let bytes = journal();
    let read = frame::decode(&bytes).expect("good").expect("whole");
    assert_eq!((read.schema, read.boot.as_str()), (7, "boot"));
    assert_eq!((read.batches, read.valid), (batches(), bytes.len()));
    assert_eq!(read.end, End::Clean);
}

#[test]
fn cut_anywhere_it_keeps_every_whole_batch() {
    let bytes = journal();
    let header = frame::header(7, "boot").len();
    for cut in 0..bytes.len() {
        let read = frame::decode(&bytes[..cut]).expect("never damaged");
        let Some(read) = read else {
            assert!(cut < header, "cut at {cut}");
            continue;
        };
        let (whole, torn) = (read.valid == cut, read.end == End::Torn);
        assert!(whole != torn, "cut at {cut}: {:?}", read.end);
        assert_eq!(read.batches, batches()[..read.batches.len()]);
        // Zeros after the cut, as a lost page leaves them, say nothing more.
        let mut padded = bytes[..cut].to_vec();
        padded.resize(cut + 4096, 0);
        let padded = frame::decode(&padded);
        if whole {
            let padded = padded.expect("torn").expect("has a header");
            assert_eq!((padded.end, padded.valid), (End::Torn, read.valid));
        }
    }
}

#[test]
fn a_bit_changed_anywhere_is_never_read_as_data() {
    let good = journal();
    let last = good.len() - frame::encode(&batches()[2]).len();
    for at in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        match frame::decode(&bytes) {
            Err(_) | Ok(None) => assert!(at / 8 < frame::header(7, "boot").len()),
            Ok(Some(read)) => {
                assert_ne!(read.end, End::Clean, "bit {at}");
                assert_eq!(read.batches, batches()[..read.batches.len()], "bit {at}");
                // Only within the last batch can it be a write that was cut short.
                assert!(read.end != End::Torn || at / 8 >= last, "bit {at}");
            }
        }
    }
}
