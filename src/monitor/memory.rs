//! The human monitor's commands for memory, ports and numbers.

use anyhow::{Context as _, Result, bail};

use super::commands::Context;
use super::{Dump, DumpFormat, View, access, expression};

/// Most bytes that one command shows.
const MOST_BYTES: u64 = 1 << 20;
/// Bytes that an instruction counts for.
const INSTRUCTION: u64 = 16;

/// How much is shown in which form: what follows the slash.
struct Format {
    count: u32,
    kind: DumpFormat,
    /// Bytes of a number, if given.
    size: Option<u8>,
}

/// Takes a format off the front of arguments, if there is one.
fn parse_format<'a, 'b>(arguments: &'a [&'b str]) -> Result<(Format, &'a [&'b str])> {
    let (letters, rest) = match arguments {
        [format, rest @ ..] if format.starts_with('/') => (&format[1..], rest),
        rest => ("", rest),
    };
    let digits = letters.len() - letters.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (count, letters) = letters.split_at(digits);
    let count = if count.is_empty() { 1 } else { count.parse().context("the count is too large")? };
    let mut format = Format { count, kind: DumpFormat::Hex, size: None };
    for letter in letters.chars() {
        match letter {
            'x' => format.kind = DumpFormat::Hex,
            'o' => format.kind = DumpFormat::Octal,
            'u' => format.kind = DumpFormat::Unsigned,
            'd' => format.kind = DumpFormat::Signed,
            'c' => format.kind = DumpFormat::Character,
            'i' => format.kind = DumpFormat::Instructions,
            'b' => format.size = Some(1),
            'h' => format.size = Some(2),
            'w' => format.size = Some(4),
            'g' | 'L' => format.size = Some(8),
            other => bail!("invalid char in format: '{other}'; formats are x o u d c i, sizes b h w g"),
        }
    }
    Ok((format, rest))
}

/// The value of an expression with registers of the chosen processor.
fn number(context: &Context<'_>, text: &str) -> Result<i64> {
    let register = |name: &str| Ok(context.machine.access()?.register(*context.cpu, name)?.cast_signed());
    expression::evaluate(text, &register)
}

fn address(context: &Context<'_>, text: &str) -> Result<u64> {
    number(context, text).map(i64::cast_unsigned)
}

/// `xp`: guest-physical memory.
pub(super) fn dump_physical(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    context.machine.view(View::Dump(parse_dump(context, arguments, None)?))
}

/// `x`: memory at a linear address of the chosen processor.
pub(super) fn dump_linear(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    context.machine.view(View::Dump(parse_dump(context, arguments, Some(*context.cpu))?))
}

/// `[/FMT] ADDRESS`: a count, the letter of a format, the letter of a size.
fn parse_dump(context: &Context<'_>, arguments: &[&str], processor: Option<u32>) -> Result<Dump> {
    let (Format { count, kind: format, size }, expression) = parse_format(arguments)?;
    let size = if format == DumpFormat::Character { 1 } else { size.unwrap_or(4) };
    let shown = if format == DumpFormat::Instructions { INSTRUCTION } else { size.into() };
    if u64::from(count) * shown > MOST_BYTES {
        bail!("that is more than {MOST_BYTES} bytes");
    }
    Ok(Dump { address: address(context, &expression.join(" "))?, count, size, format, processor })
}

/// `print [/FMT] EXPRESSION`.
pub(super) fn print(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let (Format { kind, .. }, expression) = parse_format(arguments)?;
    let value = number(context, &expression.join(" "))?;
    Ok(match kind {
        DumpFormat::Hex => format!("{value:#x}\n"),
        DumpFormat::Octal if value == 0 => "0\n".into(),
        DumpFormat::Octal => format!("0{value:o}\n"),
        DumpFormat::Unsigned => format!("{}\n", value.cast_unsigned()),
        DumpFormat::Signed => format!("{value}\n"),
        DumpFormat::Character => format!("'{}'\n", char::from(value as u8).escape_default()),
        DumpFormat::Instructions => bail!("an expression is a number, no instruction"),
    })
}

/// How many bytes of a port are accessed, and the letter that tells it.
fn port_size(format: &Format) -> Result<(usize, char)> {
    Ok(match format.size {
        Some(1) => (1, 'b'),
        Some(2) => (2, 'w'),
        None | Some(4) => (4, 'l'),
        Some(other) => bail!("ports have 1, 2 or 4 bytes (b, h, w), not {other}"),
    })
}

fn port(context: &Context<'_>, text: &str) -> Result<u16> {
    // As in QEMU, what is beyond the last port begins at the first one again.
    Ok(address(context, text)? as u16)
}

/// `i [/FMT] PORT[.INDEX]`.
pub(super) fn read_port(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let (format, rest) = parse_format(arguments)?;
    let (size, letter) = port_size(&format)?;
    let text = rest.join(" ");
    let access = context.machine.access()?;
    let port = match text.split_once('.') {
        None => port(context, &text)?,
        Some((text, index)) => {
            let (port, index) = (port(context, text)?, address(context, index)?);
            access.write_port(port, &[index as u8]);
            port.wrapping_add(1)
        }
    };
    let mut data = [0; 4];
    access.read_port(port, &mut data[..size]);
    let value = u32::from_le_bytes(data);
    Ok(format!("port{letter}[{port:#06x}] = 0x{value:0width$x}\n", width = 2 * size))
}

/// `o [/FMT] PORT VALUE`.
pub(super) fn write_port(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let (format, rest) = parse_format(arguments)?;
    let (size, _) = port_size(&format)?;
    let [to, value] = rest else { bail!("give a port and a value") };
    let (to, value) = (port(context, to)?, address(context, value)?);
    context.machine.access()?.write_port(to, &value.to_le_bytes()[..size]);
    Ok(String::new())
}

/// `sum ADDRESS SIZE`.
pub(super) fn sum(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [start, size] = arguments else { bail!("give an address and a size") };
    let (start, size) = (address(context, start)?, address(context, size)?);
    Ok(format!("{:05}\n", access::checksum(context.machine.access()?, start, size)?))
}

/// `memsave ADDRESS SIZE FILE`.
pub(super) fn save_linear(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    save(context, Some(*context.cpu), arguments)
}

/// `pmemsave ADDRESS SIZE FILE`.
pub(super) fn save_physical(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    save(context, None, arguments)
}

fn save(context: &Context<'_>, processor: Option<u32>, arguments: &[&str]) -> Result<String> {
    let [start, size, path] = arguments else { bail!("give an address, a size and a file") };
    let (start, size) = (address(context, start)?, address(context, size)?);
    access::save(context.machine.access()?, processor, start, size, path)?;
    Ok(String::new())
}

/// `gva2gpa ADDRESS`.
pub(super) fn translate(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let linear = address(context, &arguments.join(" "))?;
    let physical = context.machine.access()?.translate(*context.cpu, linear)?;
    Ok(physical.map_or_else(|| "Unmapped\n".into(), |address| format!("gpa: {address:#x}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::double::Machine;

    fn dump(line: &str) -> Result<Dump> {
        let (machine, mut cpu) = (Machine::default(), 0);
        let context = Context { machine: &machine, cpu: &mut cpu };
        parse_dump(&context, &line.split_whitespace().collect::<Vec<_>>(), None)
    }

    #[test]
    fn dumps_are_asked_for_as_in_qemu() {
        let plain = Dump { address: 0x7c00, count: 1, size: 4, format: DumpFormat::Hex, processor: None };
        assert_eq!(dump("0x7c00").unwrap(), plain);
        assert_eq!(dump("/16xb 31744").unwrap(), Dump { count: 16, size: 1, ..plain });
        assert_eq!(dump("/dg 076000").unwrap(), Dump { size: 8, format: DumpFormat::Signed, ..plain });
        assert_eq!(dump("/80c 0x7c00").unwrap(), Dump { count: 80, size: 1, format: DumpFormat::Character, ..plain });
        assert_eq!(dump("0x8000 - 0x200-0x200").unwrap(), plain);
        assert_eq!(dump("/2i $eip").unwrap().address, 0xfff0);
        assert_eq!(dump("/0x 0x7000+0xc00").unwrap(), Dump { count: 0, ..plain });
        for bad in ["", "/x", "zero", "0x", "1+", "/10q 0", "/262145x 0", "/99999999999x 0", "$nope"] {
            assert!(dump(bad).is_err(), "{bad}");
        }
    }
}
