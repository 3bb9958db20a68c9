//! Instructions as text, for people.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

/// Bytes of the longest instruction.
pub const LONGEST_INSTRUCTION: usize = 15;

/// The instruction at the beginning of `code`, as text, and its length. `code` lies at `address` and is run in a mode of
/// `bitness` bits (16, 32 or 64). What is no instruction is `(bad)`, and one byte long.
#[must_use]
pub fn instruction(code: &[u8], bitness: u32, address: u64) -> (String, usize) {
    let instruction = Decoder::with_ip(bitness, code, address, DecoderOptions::NONE).decode();
    if instruction.is_invalid() {
        return ("(bad)".into(), 1.min(code.len()));
    }
    let mut text = String::new();
    IntelFormatter::new().format(&instruction, &mut text);
    (text, instruction.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_in_their_mode() {
        let far_jump = [0xea, 0x5b, 0xe0, 0x00, 0xf0];
        assert_eq!(instruction(&far_jump, 16, 0xffff_fff0), ("jmp far 0E05Bh,0F000h".into(), 5));
        assert_eq!(instruction(&[0x48, 0x89, 0xd8], 64, 0), ("mov rax,rbx".into(), 3));
        assert_eq!(instruction(&[0x48, 0x89, 0xd8], 32, 0), ("dec eax".into(), 1));
        // No instruction, half of one, and nothing at all.
        assert_eq!(instruction(&[0x06], 64, 0), ("(bad)".into(), 1));
        assert_eq!(instruction(&far_jump[..2], 16, 0), ("(bad)".into(), 1));
        assert_eq!(instruction(&[], 16, 0), ("(bad)".into(), 0));
    }
}
