//! What QEMU answered each script, as files: the comparison needs no QEMU. Their format is natoma's own.
//!
//! A line is a step, under the `[section]` that it is in: `outb 0x70 0xd`, `inb 0x71 = 80`. The same access several times in a
//! row is one line with all answers; so are byte reads of successive ports that answer the same: `inb 0x0..0x1f = ff`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use crate::differ::{Answer, Step};

/// Set, it has the tests of QEMU write down its answers rather than check them.
const RECORD: &str = "NATOMA_RECORD_QEMU";

fn path(script: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/qtest/golden").join(format!("{script}.txt"))
}

/// The steps of `script` as QEMU took them when they were recorded.
pub fn recorded(script: &str) -> Vec<Step> {
    let path = path(script);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error} ({RECORD}=1 records it, see docs/development.md)", path.display()));
    parse(&text)
}

/// Compares QEMU's steps with those that are recorded, or records them.
pub fn check(script: &str, qemu: &[Step]) {
    if env::var_os(RECORD).is_some() {
        fs::write(path(script), format(qemu)).unwrap();
        return;
    }
    let recorded = recorded(script);
    let differs = recorded.iter().zip(qemu).find(|(recorded, now)| recorded != now);
    if let Some((recorded, now)) = differs {
        panic!("QEMU has answered '{recorded}', and now '{now}'");
    }
    assert_eq!(recorded.len(), qemu.len(), "QEMU takes another number of steps than are recorded");
}

fn format(steps: &[Step]) -> String {
    let mut text = String::new();
    let mut rest = steps;
    let mut section = "";
    while let Some(first) = rest.first() {
        if first.section != section {
            section = &first.section;
            writeln!(text, "[{section}]").unwrap();
        }
        let in_section = rest.iter().take_while(|step| step.section == section);
        let ports = in_section
            .clone()
            .zip(port(first)..)
            .take_while(|(step, port)| step.answer == first.answer && step.access == format!("inb {port:#x}"));
        let (same, ports) = (in_section.take_while(|step| step.access == first.access).count(), ports.count());
        let taken = if ports > same {
            let last = port(first) + ports as u32 - 1;
            write!(text, "{}..{last:#x}", first.access).unwrap();
            ports
        } else {
            text += &first.access;
            same
        };
        if let Some(answer) = &first.answer {
            text += " =";
            let answers = rest[..same].iter().map(|step| step.answer.as_ref().unwrap_or(answer));
            answers.for_each(|answer| write!(text, " {answer}").unwrap());
            text.push('\n');
            rest = &rest[taken..];
        } else {
            text.push('\n');
            rest = &rest[1..];
        }
    }
    text
}

/// The port of an access that reads a byte; for others, one that is not there.
fn port(step: &Step) -> u32 {
    let port = step.access.strip_prefix("inb 0x").and_then(|port| u32::from_str_radix(port, 16).ok());
    port.unwrap_or(0x10_0000)
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.strip_suffix(']').expect(line).clone_into(&mut section);
            continue;
        }
        let mut add = |access: &str, answer: Option<&str>| {
            let answer = answer.map(|digits| answer_of(access, digits));
            steps.push(Step { section: section.clone(), access: access.into(), answer });
        };
        let Some((access, answers)) = line.split_once(" = ") else {
            add(line, None);
            continue;
        };
        match access.strip_prefix("inb ").and_then(|ports| ports.split_once("..")) {
            Some((first, last)) => {
                let number = |port: &str| u32::from_str_radix(port.trim_start_matches("0x"), 16).expect(line);
                (number(first)..=number(last)).for_each(|port| add(&format!("inb {port:#x}"), Some(answers)));
            }
            None => answers.split(' ').for_each(|answer| add(access, Some(answer))),
        }
    }
    steps
}

/// Reads what [`Answer`] shows: numbers have their highest byte first.
fn answer_of(access: &str, digits: &str) -> Answer {
    let digit =
        |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_else(|_| panic!("{access}: {digits}"));
    let mut bytes: Vec<u8> = (0..digits.len()).step_by(2).map(digit).collect();
    if bytes.len() <= 8 {
        bytes.reverse();
    }
    Answer(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let step = |section: &str, access: &str, answer: Option<Vec<u8>>| Step {
            section: section.into(),
            access: access.into(),
            answer: answer.map(Answer),
        };
        let steps = [
            step("a", "inb 0x10", Some(vec![0xff])),
            step("a", "inb 0x11", Some(vec![0xff])),
            step("a", "inb 0x12", Some(vec![0xff])),
            step("a", "inb 0x13", Some(vec![0xfe])),
            step("b", "inb 0x14", Some(vec![0xfe])),
            step("b", "inl 0xcfc", Some(vec![0x86, 0x80, 0x37, 0x12])),
            step("b", "inl 0xcfc", Some(vec![0; 4])),
            step("b", "outb 0x10 0x1", None),
            step("b", "outb 0x10 0x1", None),
            step("a", "read 0x0+10", Some((0..10).collect())),
        ];
        let text = format(&steps);
        assert_eq!(
            text,
            "[a]\ninb 0x10..0x12 = ff\ninb 0x13 = fe\n[b]\ninb 0x14 = fe\ninl 0xcfc = 12378086 00000000\n\
             outb 0x10 0x1\noutb 0x10 0x1\n[a]\nread 0x0+10 = 00010203040506070809\n"
        );
        assert_eq!(parse(&text), steps);
    }
}
