//! What GRUB sees of natoma's machine and of QEMU's, side by side.

use std::collections::BTreeMap;

use crate::grub::COMMAND;

/// A line that only one of the two machines gives, as it should be.
pub struct Known {
    command: &'static str,
    /// What the line begins with.
    line: &'static str,
    reason: &'static str,
}

const NO_DISPLAY: &str = "natoma has no display adapter yet";
const ACPI_2: &str = "QEMU's tables are those of ACPI 1.0, natoma's those of ACPI 2.0 and later, with 64-bit addresses";
const STATUS: &str = "natoma's keyboard controller tells in bit 2 what is in the command byte, which firmware leaves clear, and in \
                      bit 3 which port was written last; QEMU's has both set for good";

/// What is different, as it should be.
pub const KNOWN: &[Known] = &[
    Known { command: "lspci", line: "00:02.0 1234:1111", reason: NO_DISPLAY },
    Known { command: "lsacpi", line: "No RSDPv1", reason: ACPI_2 },
    Known { command: "lsacpi", line: "RSDPv2 ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "len=36 ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "XSDT ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "FACP  244B rev=4 ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "APIC  120B rev=3 ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "RSDPv1 ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "RSDT ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "FACP  116B rev=1 ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "APIC  120B rev=1 ", reason: ACPI_2 },
    Known { command: "lsacpi", line: "No RSDPv2", reason: ACPI_2 },
    Known { command: "inb 0x64", line: "0x10", reason: STATUS },
    Known { command: "inb 0x64", line: "0x1c", reason: STATUS },
];

/// Bytes of CMOS RAM that change by themselves: the time, and the RTC's flags. The century only does with the time.
const CMOS_TIME: [usize; 11] = [0, 2, 4, 6, 7, 8, 9, 0x0a, 0x0c, 0x32, 0x37];

/// What each command printed, as lines without what may differ.
fn answers(output: &str) -> BTreeMap<&str, Vec<String>> {
    let mut answers = BTreeMap::<_, Vec<_>>::new();
    let mut command = "";
    for line in output.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix(COMMAND) {
            Some(next) => command = next,
            None => answers.entry(command).or_default().push(comparable(command, line)),
        }
    }
    answers
}

/// A line without addresses that firmware chooses, check sums over them, and what tells the time.
fn comparable(command: &str, line: &str) -> String {
    match command {
        "date" => "a date".into(),
        "lsacpi" => ["RSDT=", "chksum:", "chksum=0x"].iter().fold(line.into(), |line, field| without(&line, field)),
        "cmosdump" => without_time(line),
        _ => line.into(),
    }
}

/// Replaces the hexadecimal number behind `field`.
fn without(line: &str, field: &str) -> String {
    match line.split_once(field) {
        Some((before, number)) => {
            format!("{before}{field}*{}", number.trim_start_matches(|digit: char| digit.is_ascii_hexdigit()))
        }
        None => line.into(),
    }
}

/// A line of `cmosdump`, "10: 40 00 ...", without the bytes that change.
fn without_time(line: &str) -> String {
    let Some((Ok(first), bytes)) =
        line.split_once(": ").map(|(index, bytes)| (usize::from_str_radix(index, 16), bytes))
    else {
        return line.into();
    };
    let bytes = bytes.split_whitespace().enumerate();
    let bytes = bytes.map(|(index, byte)| if CMOS_TIME.contains(&(first + index)) { "**" } else { byte });
    format!("{first:02x}: {}", bytes.collect::<Vec<_>>().join(" "))
}

/// The lines that only one of the machines printed, with the command before them: `(command, line, whose)`.
fn unshared<'a>(natoma: &'a str, qemu: &'a str) -> Vec<(String, String, &'static str)> {
    let (ours, theirs) = (answers(natoma), answers(qemu));
    let only = |these: &BTreeMap<&'a str, Vec<String>>, those: &BTreeMap<&'a str, Vec<String>>, whose| {
        let mut found = Vec::new();
        for (command, lines) in these {
            let others = those.get(command).map_or(&[][..], Vec::as_slice);
            found.extend(
                lines
                    .iter()
                    .filter(|line| !others.contains(line))
                    .map(|line| ((*command).to_string(), line.clone(), whose)),
            );
        }
        found
    };
    [only(&ours, &theirs, "natoma"), only(&theirs, &ours, "QEMU")].concat()
}

/// Compares what GRUB printed. Returns a line for each difference that is not known, and for each known one that there is not.
pub fn differences(natoma: &str, qemu: &str, known: &[Known]) -> Vec<String> {
    let unshared = unshared(natoma, qemu);
    let covers = |known: &Known, command: &str, line: &str| command == known.command && line.starts_with(known.line);
    let new = unshared
        .iter()
        .filter(|(command, line, _)| !known.iter().any(|known| covers(known, command, line)))
        .map(|(command, line, whose)| format!("{command}: only {whose} has '{line}'"));
    let gone = known
        .iter()
        .filter(|known| !unshared.iter().any(|(command, line, _)| covers(known, command, line)))
        .map(|known| format!("{}: '{}' is no difference any more ({})", known.command, known.line, known.reason));
    new.chain(gone).collect()
}

/// The date and time that GRUB printed, in seconds since 1970.
pub fn date(output: &str) -> Option<u64> {
    let (_, after) = output.split_once(&format!("{COMMAND}date\n"))?;
    let mut words = after.lines().next()?.split_whitespace();
    let (day, time) = (words.next()?, words.next()?);
    let numbers = |text: &str, separator| -> Option<[u64; 3]> {
        text.split(separator).map(|number| number.parse().ok()).collect::<Option<Vec<_>>>()?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(day, '-')?, numbers(time, ':')?);
    // A year that begins in March ends with the leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    // Days up to a month of that year, and up to the 1st of March of the year 0.
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(((since_1970 * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "GRUB-COMMAND date\n2026-11-21 15:10:22 Saturday\nGRUB-COMMAND lspci\n00:00.0 8086:1237\n\
                        GRUB-COMMAND lsacpi\nRSDT=07fe0000\nFACP  116B rev=1 chksum=0x12 (valid) OEM=BOCHS\n\
                        GRUB-COMMAND cmosdump\n00: 22 00 10 00 15 00 07 21 11 26 26 02 50 80 00 00 \n\
                        30: 00 fc 20 00 00 \nGRUB-COMMAND inb 0x64\n0x1c\n";

    #[test]
    fn what_changes_by_itself_is_no_difference() {
        let theirs = OURS
            .replace("2026-11-21 15:10:22", "2026-11-22 00:00:01")
            .replace("07fe0000", "03fe2ab3")
            .replace("0x12", "0xfe")
            .replace("00: 22 00 10", "00: 01 00 00")
            .replace("26 26 02 50", "26 a6 02 00");
        assert_eq!(differences(OURS, &theirs, &[]), Vec::<String>::new());
    }

    #[test]
    fn everything_else_is() {
        let theirs = OURS
            .replace("(valid)", "(invalid)")
            .replace("02 50 80", "02 50 00")
            .replace("0x1c", "0x1d")
            .replace("8086:1237\n", "8086:1237\n00:02.0 1234:1111\n");
        let known = |line| Known { command: "lspci", line, reason: "a reason" };
        let found = differences(OURS, &theirs, &[known("00:01.1 8086:7010"), known("00:02.0 1234:1111")]);
        assert_eq!(found.iter().filter(|line| line.contains("only natoma has")).count(), 3, "{found:?}");
        assert_eq!(found.iter().filter(|line| line.contains("only QEMU has")).count(), 3, "{found:?}");
        assert_eq!(found.last().unwrap(), "lspci: '00:01.1 8086:7010' is no difference any more (a reason)");
        assert_eq!(found.len(), 7);
    }

    /// As `date +%s` says.
    #[test]
    fn dates_are_read() {
        assert_eq!(date(OURS), Some(1_795_273_822));
        assert_eq!(date("GRUB-COMMAND date\n2040-02-29 12:34:00 Wednesday\n"), Some(2_214_131_640));
        assert_eq!(date("GRUB-COMMAND date\n1970-01-01 00:00:00 Thursday\n"), Some(0));
        assert_eq!(date("GRUB-COMMAND date\nerror: no date\n"), None);
    }
}
