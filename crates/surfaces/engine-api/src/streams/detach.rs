//! The keys that leave a terminal without ending what runs in it.

use crate::errors::ApiError;

/// Watches input for a sequence of keys and holds back what may be its start.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    seen: usize,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` or single characters; Docker's default when empty.
    ///
    /// # Errors
    /// 400 for a key that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let text = if text.is_empty() {
            "ctrl-p,ctrl-q"
        } else {
            text
        };
        let key = |name: &str| match (name.strip_prefix("ctrl-"), name.as_bytes()) {
            (Some(letter), _) => match letter.as_bytes() {
                [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                [b'@'] => Some(0),
                [symbol @ b'['..=b'_'] => Some(symbol - b'[' + 27),
                _ => None,
            },
            (None, [byte]) => Some(*byte),
            _ => None,
        };
        let keys = text.split(',').map(|name| {
            key(name).ok_or_else(|| {
                ApiError::bad_request(format!("Invalid detach keys ({text}) provided: {name:?}"))
            })
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            seen: 0,
        })
    }

    /// What of the input goes on, and whether the sequence was completed in it.
    pub(crate) fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for byte in input {
            if *byte != self.keys[self.seen] {
                passed.extend_from_slice(&self.keys[..self.seen]);
                self.seen = 0;
            }
            if *byte == self.keys[self.seen] {
                self.seen += 1;
            } else {
                passed.push(*byte);
            }
            if self.seen == self.keys.len() {
                self.seen = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }
}
