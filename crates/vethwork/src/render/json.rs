//! JSON documents as they came, only indented (`json.Indent` of Go): keys keep their order.

/// Puts a compact or loose document on lines of its own, four spaces a level, each line but the
/// first after `prefix`.
pub(crate) fn indent(document: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(document.len() * 2);
    let mut depth = 0_usize;
    // Whether a bracket has just been opened, whose first element is still to come.
    let mut fresh = false;
    let mut in_text = false;
    let mut escaped = false;
    for c in document.chars() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if fresh && c != ']' && c != '}' {
            break_line(&mut out, prefix, depth);
        }
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !fresh {
                    break_line(&mut out, prefix, depth);
                }
            }
            _ => {}
        }
        out.push(c);
        match c {
            ',' => break_line(&mut out, prefix, depth),
            ':' => out.push(' '),
            '"' => in_text = true,
            _ => {}
        }
        fresh = matches!(c, '{' | '[');
    }
    out
}

fn break_line(out: &mut String, prefix: &str, depth: usize) {
    out.push('\n');
    out.push_str(prefix);
    out.extend(std::iter::repeat_n("    ", depth));
}

#[cfg(test)]
mod tests;
