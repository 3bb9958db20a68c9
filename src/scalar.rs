//! Flags, numbers and sizes as QEMU 7.2 writes them.

/// Reads `on`, `yes`, `true`, `y` or `off`, `no`, `false`, `n`. QEMU accepts no other spelling, in lower case only.
pub fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

/// Reads an unsigned number as C does: decimal, hexadecimal with `0x`, octal with a leading `0`.
pub fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok())?
}

/// Reads a size in bytes: a number, or a number with a fraction, and a suffix out of `b k M G T P E` (either case) for
/// powers of 1024. Without a suffix the number counts `default_unit` bytes.
///
/// As in QEMU a fraction needs a suffix above `b`; it is rounded to the nearest byte, halves up. Hexadecimal numbers are
/// integers and cannot have the suffixes `b` and `E`, which are digits there.
pub fn parse_size(text: &str, default_unit: u64) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let unit = unit(&hex[end..], default_unit)?;
        return u64::from_str_radix(&hex[..end], 16).ok()?.checked_mul(unit);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = unit(suffix, default_unit)?;
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = integer.parse::<u64>().ok()?.checked_mul(unit)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    if suffix.is_empty() || unit == 1 || fraction.contains('.') {
        return None;
    }
    // Eighteen digits tell every byte of an exabyte apart and keep the product below 2^128.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = (fraction.parse::<u128>().ok()? * u128::from(unit) + scale / 2) / scale;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Number of bytes that a suffix stands for.
fn unit(suffix: &str, default: u64) -> Option<u64> {
    const SUFFIXES: &str = "bkmgtpe";
    let mut letters = suffix.chars();
    match (letters.next(), letters.next()) {
        (None, _) => Some(default),
        (Some(letter), None) => SUFFIXES.find(letter.to_ascii_lowercase()).map(|power| 1 << (10 * power)),
        _ => None,
    }
}

/// Writes a size with the largest suffix that needs no fraction, so that [`parse_size`] reads it back.
pub fn print_size(bytes: u64) -> String {
    let power = if bytes == 0 { 0 } else { (bytes.trailing_zeros() / 10) as usize };
    match power {
        0 => bytes.to_string(),
        _ => format!("{}{}", bytes >> (10 * power), ["", "K", "M", "G", "T", "P", "E"][power]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_those_of_c() {
        for (text, value) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("0x2A", Some(42)),
            ("052", Some(42)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("08", None),
            ("0x", None),
            ("", None),
            ("-1", None),
            ("0x-1", None),
            ("1k", None),
            ("٣", None),
        ] {
            assert_eq!(parse_number(text), value, "{text}");
        }
    }

    /// The expected values are what `qemu-system-x86_64 -m` 7.2 makes of the same text (default unit 1 MiB).
    #[test]
    fn sizes_are_those_of_qemu() {
        const MIB: u64 = 1 << 20;
        for (text, value) in [
            ("64", Some(64 * MIB)),
            ("64M", Some(64 * MIB)),
            ("64m", Some(64 * MIB)),
            ("64b", Some(64)),
            ("64B", Some(64)),
            ("4k", Some(4096)),
            ("1.5G", Some(1536 * MIB)),
            ("0.5M", Some(MIB / 2)),
            ("1.0001M", Some(1_048_681)),
            ("5.M", Some(5 * MIB)),
            ("0x40", Some(64 * MIB)),
            ("0x40M", Some(64 * MIB)),
            ("0x1b", Some(0x1b * MIB)),
            ("8E", Some(8 << 60)),
            ("16E", None),
            ("17179869184G", None),
            ("1.5", None),
            ("1.5b", None),
            ("1.5.5M", None),
            (".5M", None),
            ("-64", None),
            ("1e3", None),
            ("1e1M", None),
            ("64MB", None),
            ("64MiB", None),
            ("64 ", None),
            ("nan", None),
            ("", None),
            ("M", None),
        ] {
            assert_eq!(parse_size(text, MIB), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_scalar_or_not(text in ".{0,40}") {
            parse_flag(&text);
            parse_number(&text);
            parse_size(&text, 1 << 20);
        }

        #[test]
        fn sizes_print_and_read_back(bytes in any::<u64>(), shift in 0u32..64) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse_size(&print_size(bytes), 1), Some(bytes));
        }

        #[test]
        fn numbers_print_and_read_back(number in any::<u64>()) {
            prop_assert_eq!(parse_number(&number.to_string()), Some(number));
            prop_assert_eq!(parse_number(&format!("{number:#x}")), Some(number));
        }
    }
}
