//! `x` and `xp`: memory as numbers.

use std::fmt::Write;

use anyhow::Result;

use crate::kvm::disassembly::{LONGEST_INSTRUCTION, instruction};
use crate::monitor::{Dump, DumpFormat};

/// Bytes of a line of bytes, and of any other.
const BYTES: usize = 8;
const LINE: usize = 16;

/// The text of a dump. `read` returns `false` for addresses where there is nothing.
pub(super) fn text(dump: &Dump, read: impl Fn(u64, &mut [u8]) -> Result<bool>) -> Result<String> {
    let size = usize::from(dump.size);
    let line = if size == 1 { BYTES } else { LINE };
    let mut text = String::new();
    let (mut at, mut left) = (dump.address, dump.count as usize * size);
    while left > 0 {
        // Writing to a String can't fail.
        let _ = write!(text, "{at:016x}:");
        let mut data = [0; LINE];
        let data = &mut data[..left.min(line)];
        if !read(at, data)? {
            text += " Cannot access memory\n";
            break;
        }
        for element in data.chunks(size) {
            let _ = write!(text, " {}", number(element, dump.format));
        }
        text.push('\n');
        at = at.wrapping_add(data.len() as u64);
        left -= data.len();
    }
    Ok(text)
}

/// The text of a dump of instructions, run in a mode of `bitness` bits.
pub(super) fn instructions(dump: &Dump, bitness: u32, read: impl Fn(u64, &mut [u8]) -> Result<bool>) -> Result<String> {
    let mut text = String::new();
    let mut at = dump.address;
    for _ in 0..dump.count {
        let mut code = vec![0; LONGEST_INSTRUCTION];
        // Less if there is no more.
        if !read(at, &mut code)? {
            code.clear();
        }
        while code.len() < LONGEST_INSTRUCTION {
            let mut byte = [0];
            if !read(at.wrapping_add(code.len() as u64), &mut byte)? {
                break;
            }
            code.extend(byte);
        }
        if code.is_empty() {
            let _ = writeln!(text, "{at:#010x}: unable to read memory");
            break;
        }
        let (instruction, len) = instruction(&code, bitness, at);
        let bytes = code[..len].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        // Writing to a String can't fail.
        let _ = writeln!(text, "{at:#010x}:  {bytes:<23}  {instruction}");
        at = at.wrapping_add(len as u64);
    }
    Ok(text)
}

fn number(element: &[u8], format: DumpFormat) -> String {
    let mut bytes = [0; 8];
    bytes[..element.len()].copy_from_slice(element);
    let value = u64::from_le_bytes(bytes);
    let bits = 8 * element.len();
    match format {
        DumpFormat::Hex | DumpFormat::Instructions => format!("0x{value:0width$x}", width = bits / 4),
        DumpFormat::Octal => {
            let digits = if value == 0 { "0".to_owned() } else { format!("0{value:o}") };
            format!("{digits:>width$}", width = bits.div_ceil(3))
        }
        DumpFormat::Unsigned => format!("{value:width$}", width = (bits * 10).div_ceil(33)),
        DumpFormat::Signed => {
            let unused = 64 - bits;
            let value = (value << unused).cast_signed() >> unused;
            format!("{value:width$}", width = (bits * 10).div_ceil(33))
        }
        DumpFormat::Character => character(value as u8),
    }
}

fn character(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b' '..=b'~' => format!("'{}'", char::from(byte)),
        _ => format!(r"'\x{byte:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(count: u32, size: u8, format: DumpFormat) -> String {
        let dump = Dump { address: 0x7c00, count, size, format, processor: None };
        let memory = |address: u64, data: &mut [u8]| {
            for (byte, at) in data.iter_mut().zip(address..) {
                *byte = (at as u8).wrapping_mul(0x11).wrapping_add(0xf0);
            }
            Ok(address < 0x7c20)
        };
        text(&dump, memory).unwrap()
    }

    /// The layout of QEMU 7.2: 8 bytes or 16 bytes of anything else in a line.
    #[test]
    fn looks_like_qemus() {
        assert_eq!(dump(2, 2, DumpFormat::Hex), "0000000000007c00: 0x01f0 0x2312\n");
        assert_eq!(
            dump(9, 1, DumpFormat::Hex),
            "0000000000007c00: 0xf0 0x01 0x12 0x23 0x34 0x45 0x56 0x67\n0000000000007c08: 0x78\n"
        );
        assert_eq!(dump(1, 1, DumpFormat::Unsigned), "0000000000007c00: 240\n");
        assert_eq!(dump(1, 1, DumpFormat::Signed), "0000000000007c00: -16\n");
        assert_eq!(dump(1, 4, DumpFormat::Unsigned), "0000000000007c00:  588382704\n");
        assert_eq!(dump(1, 1, DumpFormat::Octal), "0000000000007c00: 0360\n");
        assert_eq!(dump(6, 1, DumpFormat::Character), "0000000000007c00: '\\xf0' '\\x01' '\\x12' '#' '4' 'E'\n");
        assert_eq!(dump(1, 8, DumpFormat::Hex), "0000000000007c00: 0x67564534231201f0\n");
    }

    #[test]
    fn instructions_follow_each_other() {
        let dump = Dump { address: 0xffff_fff0, count: 3, size: 4, format: DumpFormat::Instructions, processor: None };
        // The reset vector of QEMU's firmware.
        let code = [0xea, 0x5b, 0xe0, 0x00, 0xf0, 0x90];
        let memory = |address: u64, data: &mut [u8]| {
            let rest = code.get((address - 0xffff_fff0) as usize..).and_then(|rest| rest.get(..data.len()));
            data.copy_from_slice(rest.unwrap_or(&vec![0; data.len()]));
            Ok(rest.is_some())
        };
        assert_eq!(
            instructions(&dump, 16, memory).unwrap(),
            "0xfffffff0:  ea 5b e0 00 f0           jmp far 0E05Bh,0F000h\n\
             0xfffffff5:  90                       nop\n\
             0xfffffff6: unable to read memory\n"
        );
    }

    #[test]
    fn it_ends_where_memory_does() {
        let text = dump(100, 8, DumpFormat::Hex);
        assert_eq!(text.lines().count(), 3);
        assert!(text.ends_with("0000000000007c20: Cannot access memory\n"), "{text}");
    }
}
