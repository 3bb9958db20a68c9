//! The options on a Linux command line that also concern whoever loads the kernel
//! (`Documentation/arch/x86/boot.rst`, "Special Command Line Options").

/// `vid_mode` of a kernel that was given no `vga=`: leave the text mode as it is.
const NORMAL_VGA: u16 = 0xffff;
const EXTENDED_VGA: u16 = 0xfffe;
const ASK_VGA: u16 = 0xfffd;

/// The end of memory by `mem=`: the kernel uses nothing above, so the initrd must be below. The smallest counts.
pub(super) fn memory_limit(cmdline: &[u8]) -> Option<u64> {
    values(cmdline, b"mem=").filter_map(size).min()
}

/// The video mode by `vga=`, of which the last counts, or else the one that changes nothing.
pub(super) fn video_mode(cmdline: &[u8]) -> u16 {
    values(cmdline, b"vga=")
        .filter_map(|value| match value {
            b"normal" => Some(NORMAL_VGA),
            b"ext" => Some(EXTENDED_VGA),
            b"ask" => Some(ASK_VGA),
            number => match integer(number)? {
                (mode, []) => u16::try_from(mode).ok(),
                _ => None,
            },
        })
        .last()
        .unwrap_or(NORMAL_VGA)
}

fn values<'a>(cmdline: &'a [u8], option: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    cmdline.split(u8::is_ascii_whitespace).filter_map(move |word| word.strip_prefix(option))
}

/// A C integer and an optional suffix; like the kernel, whatever follows is ignored. Zero is no limit that a kernel could
/// live with and means nothing.
fn size(value: &[u8]) -> Option<u64> {
    let (number, rest) = integer(value)?;
    let shift = match rest.first().map(u8::to_ascii_uppercase) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(b'E') => 60,
        _ => 0,
    };
    number.checked_mul(1 << shift).filter(|&n| n > 0)
}

/// A decimal, octal (`0` in front) or hexadecimal (`0x`) number and what follows it.
fn integer(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, radix) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (rest, 16),
        [b'0', ..] => (text, 8),
        _ => (text, 10),
    };
    let is_digit = |c: &u8| char::from(*c).is_digit(radix);
    let len = digits.iter().take_while(|c| is_digit(c)).count();
    let (digits, rest) = digits.split_at(len);
    let number = u64::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_mem_option_limits_memory() {
        assert_eq!(memory_limit(b"console=ttyS0"), None);
        assert_eq!(memory_limit(b"mem=nopentium root=/dev/sda"), None);
        assert_eq!(memory_limit(b"mem=64M"), Some(64 << 20));
        assert_eq!(memory_limit(b"quiet mem=1g mem=0x8000000 x"), Some(0x800_0000));
        assert_eq!(memory_limit(b"mem=0200k"), Some(0o200 << 10));
        assert_eq!(memory_limit(b"mem=48Mx"), Some(48 << 20));
        assert_eq!(memory_limit(b"memmap=64M mem= mem=0 mem=99E"), None);
    }

    #[test]
    fn the_last_vga_option_is_the_video_mode() {
        assert_eq!(video_mode(b""), 0xffff);
        assert_eq!(video_mode(b"vga=ask vga=0x317"), 0x317);
        assert_eq!(video_mode(b"vga=ext"), 0xfffe);
        assert_eq!(video_mode(b"vga=normal"), 0xffff);
        assert_eq!(video_mode(b"vga=791"), 791);
        assert_eq!(video_mode(b"vga=ask vga=cga80 vga=70000"), 0xfffd);
    }
}
