//! The human monitor's commands that look into the hardware, or change it by hand.

use anyhow::{Context, Result, bail};

use super::{Control, Dump, DumpFormat, Medium, View, Writing};

/// Most bytes that one command shows.
const MOST_BYTES: u64 = 1 << 20;

/// The text of an answer, or of why there is none.
pub(super) fn answer(result: Result<String>) -> String {
    result.unwrap_or_else(|error| format!("Error: {error:#}\n"))
}

/// The answer of a command that says nothing if all is well.
pub(super) fn silent(result: Result<()>) -> String {
    answer(result.map(|()| String::new()))
}

/// A part without arguments.
pub(super) fn view(machine: &dyn Control, view: View) -> String {
    answer(machine.view(view))
}

/// The number of a processor: 0 if none is given.
fn processor(arguments: &[&str]) -> Result<u32> {
    match arguments {
        [] => Ok(0),
        [number] => number.parse().with_context(|| format!("'{number}' is no number of a CPU")),
        _ => bail!("give one CPU at most"),
    }
}

pub(super) fn registers(machine: &dyn Control, arguments: &[&str]) -> String {
    let processors = match arguments {
        ["-a"] => 0..machine.cpus(),
        other => match processor(other) {
            Ok(cpu) => cpu..cpu.saturating_add(1),
            Err(error) => return format!("Error: {error:#}\n"),
        },
    };
    processors
        .map(|cpu| answer(machine.view(View::Registers(cpu)).map(|text| format!("\nCPU#{cpu}\n{text}"))))
        .collect()
}

pub(super) fn local_apic(machine: &dyn Control, arguments: &[&str]) -> String {
    answer(processor(arguments).and_then(|cpu| machine.view(View::LocalApic(cpu))))
}

pub(super) fn cpus(machine: &dyn Control) -> String {
    let line = |(index, cpu): (usize, super::Cpu)| {
        // The one that other commands look at if they are not told.
        let mark = if index == 0 { '*' } else { ' ' };
        format!("{mark} CPU #{index}: thread_id={}\n", cpu.thread_id)
    };
    machine.cpu_list().into_iter().enumerate().map(line).collect()
}

/// `xp`: guest-physical memory.
pub(super) fn dump_physical(machine: &dyn Control, arguments: &[&str]) -> String {
    answer(parse_dump(arguments, None).and_then(|dump| machine.view(View::Dump(dump))))
}

/// `x`: memory at a linear address of the first processor.
pub(super) fn dump_linear(machine: &dyn Control, arguments: &[&str]) -> String {
    answer(parse_dump(arguments, Some(0)).and_then(|dump| machine.view(View::Dump(dump))))
}

/// `[/FMT] ADDRESS`: a count, the letter of a format, the letter of a size.
fn parse_dump(arguments: &[&str], processor: Option<u32>) -> Result<Dump> {
    let (letters, address) = match arguments {
        [format, address @ ..] if format.starts_with('/') => (&format[1..], address),
        address => ("", address),
    };
    if address.is_empty() {
        bail!("give an address");
    }
    let digits = letters.len() - letters.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (count, letters) = letters.split_at(digits);
    let count: u32 = if count.is_empty() { 1 } else { count.parse().context("the count is too large")? };
    let (mut format, mut size) = (DumpFormat::Hex, None);
    for letter in letters.chars() {
        match letter {
            'x' => format = DumpFormat::Hex,
            'o' => format = DumpFormat::Octal,
            'u' => format = DumpFormat::Unsigned,
            'd' => format = DumpFormat::Signed,
            'c' => format = DumpFormat::Character,
            'b' => size = Some(1),
            'h' => size = Some(2),
            'w' => size = Some(4),
            'g' | 'L' => size = Some(8),
            'i' => bail!("natoma does not disassemble memory yet: use x, o, u, d or c"),
            other => bail!("invalid char in format: '{other}'; formats are x o u d c, sizes b h w g"),
        }
    }
    let size = if format == DumpFormat::Character { 1 } else { size.unwrap_or(4) };
    if u64::from(count) * u64::from(size) > MOST_BYTES {
        bail!("that is more than {MOST_BYTES} bytes");
    }
    Ok(Dump { address: parse_address(&address.concat())?, count, size, format, processor })
}

/// Numbers, decimal, hexadecimal (0x) or octal (0), that are added and subtracted.
fn parse_address(text: &str) -> Result<u64> {
    let mut sum = 0_u64;
    let mut rest = text;
    let mut negative = false;
    loop {
        let end = rest.find(['+', '-']).unwrap_or(rest.len());
        let number = parse_number(&rest[..end]).with_context(|| format!("'{text}' is no address"))?;
        sum = if negative { sum.wrapping_sub(number) } else { sum.wrapping_add(number) };
        let Some(sign) = rest[end..].chars().next() else { return Ok(sum) };
        negative = sign == '-';
        rest = &rest[end + 1..];
    }
}

fn parse_number(text: &str) -> Result<u64> {
    if text.starts_with('$') {
        bail!("registers are not known here: see 'info registers'");
    }
    let lower = text.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None if lower.len() > 1 && lower.starts_with('0') => u64::from_str_radix(&lower[1..], 8),
        None => lower.parse(),
    };
    number.with_context(|| format!("'{text}' is no number"))
}

pub(super) fn eject(machine: &dyn Control, arguments: &[&str]) -> String {
    // Nothing is ever locked in, so that force makes no difference.
    let drive = match arguments {
        ["-f", drive] | [drive] => drive,
        _ => return "eject: give a drive (see 'info block')\n".into(),
    };
    silent(machine.change_medium(drive, None))
}

pub(super) fn change(machine: &dyn Control, arguments: &[&str]) -> String {
    let arguments: Vec<_> = arguments.iter().copied().filter(|argument| *argument != "-f").collect();
    silent(parse_change(&arguments).and_then(|(drive, medium)| machine.change_medium(drive, Some(medium))))
}

/// `DRIVE FILE [FORMAT [MODE]]`.
fn parse_change<'a>(arguments: &[&'a str]) -> Result<(&'a str, Medium)> {
    let [drive, path, rest @ ..] = arguments else { bail!("give a drive (see 'info block') and a file") };
    let raw = match rest.first() {
        None => false,
        Some(&"raw") => true,
        Some(other) => bail!("natoma can't read the format '{other}': use raw"),
    };
    let writing = match rest.get(1) {
        None | Some(&"retain") => Writing::Retain,
        Some(&"read-only") => Writing::Forbidden,
        Some(&"read-write") => Writing::Allowed,
        Some(other) => bail!("'{other}' is neither retain, read-only nor read-write"),
    };
    if rest.len() > 2 {
        bail!("there is no more to say than drive, file, format and mode");
    }
    Ok((drive, Medium { path: (*path).to_owned(), raw, writing }))
}

pub(super) fn boot_set(machine: &dyn Control, arguments: &[&str]) -> String {
    let [order] = arguments else {
        return "boot_set: give letters of devices: a and b floppies, c disk, d CD-ROM, n network\n".into();
    };
    answer(machine.set_boot_order(order).map(|()| format!("boot device list now set to {order}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(line: &str) -> Result<Dump> {
        parse_dump(&line.split_whitespace().collect::<Vec<_>>(), None)
    }

    #[test]
    fn dumps_are_asked_for_as_in_qemu() {
        let plain = Dump { address: 0x7c00, count: 1, size: 4, format: DumpFormat::Hex, processor: None };
        assert_eq!(dump("0x7c00").unwrap(), plain);
        assert_eq!(dump("/16xb 31744").unwrap(), Dump { count: 16, size: 1, ..plain });
        assert_eq!(dump("/dg 076000").unwrap(), Dump { size: 8, format: DumpFormat::Signed, ..plain });
        assert_eq!(dump("/80c 0x7c00").unwrap(), Dump { count: 80, size: 1, format: DumpFormat::Character, ..plain });
        assert_eq!(dump("0x8000 - 0x200-0x200").unwrap(), plain);
        assert_eq!(dump("/0x 0x7000+0xc00").unwrap(), Dump { count: 0, ..plain });
        for bad in ["", "/x", "zero", "0x", "1+", "/10q 0", "/10i 0", "/262145x 0", "/99999999999x 0", "$eip"] {
            assert!(dump(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn media_are_named_by_drive_file_format_and_mode() {
        let parse = |line: &'static str| parse_change(&line.split(' ').collect::<Vec<_>>());
        let medium = Medium { path: "a.img".into(), raw: false, writing: Writing::Retain };
        assert_eq!(parse("floppy0 a.img").unwrap(), ("floppy0", medium.clone()));
        let raw = Medium { raw: true, writing: Writing::Forbidden, ..medium };
        assert_eq!(parse("floppy0 a.img raw read-only").unwrap(), ("floppy0", raw));
        for bad in ["floppy0", "floppy0 a.img qcow2", "floppy0 a.img raw maybe", "floppy0 a.img raw retain more"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
