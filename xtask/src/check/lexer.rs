//! Splits Rust text into code, strings and comments.
//!
//! Owns just enough of Rust's lexical grammar to tell the three apart: it
//! parses nothing, and never fails on text that rustc would refuse.

/// One file's text three times over, with all but one class of it blanked.
///
/// Each view has the bytes and line breaks of the original, so offsets agree.
#[derive(Debug)]
pub(crate) struct Views {
    /// What is neither a comment nor inside a string literal.
    pub(crate) code: String,
    /// What is inside string literals, their quotes included.
    pub(crate) strings: String,
    /// Comments, doc comments included.
    pub(crate) comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Code,
    Text,
    Comment,
}

impl Views {
    /// Splits `text`.
    pub(crate) fn of(text: &str) -> Self {
        let classes = classify(text.as_bytes());
        let view = |wanted| {
            text.char_indices()
                .map(|(at, letter)| match letter {
                    '\n' => "\n".to_owned(),
                    _ if classes[at] == wanted => letter.to_string(),
                    _ => " ".repeat(letter.len_utf8()),
                })
                .collect()
        };
        Self {
            code: view(Class::Code),
            strings: view(Class::Text),
            comments: view(Class::Comment),
        }
    }
}

fn classify(text: &[u8]) -> Vec<Class> {
    let mut classes = vec![Class::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let previous = at.checked_sub(1).map(|before| text[before]);
        let (length, class) = token(rest, previous);
        let end = (at + length).min(text.len());
        classes[at..end].fill(class);
        at = end;
    }
    classes
}

/// The length and class of the token that `rest` begins with; at least one byte.
fn token(rest: &[u8], previous: Option<u8>) -> (usize, Class) {
    if rest.starts_with(b"//") {
        let line = rest.iter().position(|&byte| byte == b'\n');
        return (line.unwrap_or(rest.len()), Class::Comment);
    }
    if rest.starts_with(b"/*") {
        return (block_comment(rest), Class::Comment);
    }
    let in_word = previous.is_some_and(is_word);
    if !in_word && let Some(length) = raw_string(rest) {
        return (length, Class::Text);
    }
    match rest[0] {
        b'"' => (quoted(rest, b'"'), Class::Text),
        b'\'' if is_char_literal(rest) => (quoted(rest, b'\''), Class::Text),
        _ => (1, Class::Code),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Tells `'x'` and `'\n'` from a lifetime.
fn is_char_literal(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(byte) if byte.is_ascii() => rest.get(2) == Some(&b'\''),
        Some(_) => true,
        None => false,
    }
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a raw string (`r"…"`, `br#"…"#`, `cr"…"`) that `rest` begins with.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = rest.iter().take_while(|byte| b"bcr".contains(byte)).count();
    if prefix == 0 || prefix > 2 || rest[prefix - 1] != b'r' {
        return None;
    }
    let hashes = rest[prefix..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let body = open + 1;
    let closing: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let end = rest[body..]
        .windows(closing.len())
        .position(|window| window == closing);
    Some(end.map_or(rest.len(), |end| body + end + closing.len()))
}
