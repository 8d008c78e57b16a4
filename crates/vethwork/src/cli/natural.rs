//! Names in the order that people expect: `n2` before `n10`.

use std::cmp::Ordering;

/// Compares runs of digits as numbers, and everything else by its bytes.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(first), Some(second)) = (a.first(), b.first()) else {
            return a.len().cmp(&b.len());
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let (x, rest_a) = digits(a);
            let (y, rest_b) = digits(b);
            let order = (x.len(), x).cmp(&(y.len(), y));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else if first == second {
            (a, b) = (&a[1..], &b[1..]);
        } else {
            return first.cmp(second);
        }
    }
}

/// The digits in front, without leading zeros, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let zeros = number
        .iter()
        .position(|byte| *byte != b'0')
        .unwrap_or(number.len());
    (&number[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = [
            "n10",
            "n2",
            "n",
            "a1b2",
            "a1b10",
            "n02x",
            "99999999999999999999",
            "0",
        ];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(
            names,
            [
                "0",
                "99999999999999999999",
                "a1b2",
                "a1b10",
                "n",
                "n2",
                "n02x",
                "n10"
            ]
        );
    }
}
