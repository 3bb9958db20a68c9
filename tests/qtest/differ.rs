//! Writes down what a script does and is answered, and tells where two transcripts of one script differ.

use std::fmt;

use crate::pc::Pc;

/// Differences between natoma and QEMU that are as they should be, for one reason.
pub struct Difference {
    /// Where they are: each of these, and nothing else.
    pub places: &'static [Place],
    /// Why natoma does not do as QEMU does.
    pub reason: &'static str,
}

/// One access of a script that natoma and QEMU answer differently; all of them, if the section makes it several times.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The section of the script.
    pub section: &'static str,
    /// The access as a [`Step`] shows it.
    pub access: &'static str,
    /// The bits of the answer that differ at least once. All others are the same.
    pub bits: u64,
}

/// A [`Place`].
pub const fn at(section: &'static str, access: &'static str, bits: u64) -> Place {
    Place { section, access, bits }
}

impl Place {
    fn is_of(&self, step: &Step) -> bool {
        self.section == step.section && self.access == step.access
    }
}

/// What a read is answered: bytes in the order of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// As a number, if it is that of one access.
    fn number(&self) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..self.0.len())?.copy_from_slice(&self.0);
        Some(u64::from_le_bytes(bytes))
    }

    /// The bits in which it differs from `other`: all, if it is more than a number.
    fn difference(&self, other: &Self) -> u64 {
        match (self.number(), other.number()) {
            _ if self == other => 0,
            (Some(ours), Some(theirs)) => ours ^ theirs,
            _ => u64::MAX,
        }
    }
}

/// A number as people write it; of more than eight bytes, the bytes in the order of addresses. Always two digits a byte.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(_) => self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}")),
            None => self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// One access of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where in the script.
    pub section: String,
    /// What was done: `inb 0x71`.
    pub access: String,
    /// What came of it, if it is a read.
    pub answer: Option<Answer>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, access, answer } = self;
        write!(f, "{section}: {access}")?;
        answer.as_ref().map_or(Ok(()), |answer| write!(f, " = {answer}"))
    }
}

/// A machine whose steps are written down.
pub struct Recorder<'a> {
    pc: &'a mut dyn Pc,
    section: String,
    steps: Vec<Step>,
    leaves_out: bool,
}

impl<'a> Recorder<'a> {
    pub fn new(pc: &'a mut dyn Pc) -> Self {
        Self { pc, section: "start".into(), steps: Vec::new(), leaves_out: false }
    }

    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    fn note(&mut self, access: String, answer: Option<Vec<u8>>) {
        if !self.leaves_out {
            self.steps.push(Step { section: self.section.clone(), access, answer: answer.map(Answer) });
        }
    }
}

impl Pc for Recorder<'_> {
    fn input(&mut self, port: u16, size: usize) -> u32 {
        let value = self.pc.input(port, size);
        let name = ["inb", "inw", "", "inl"][size - 1];
        self.note(format!("{name} {port:#x}"), Some(value.to_le_bytes()[..size].to_vec()));
        value
    }

    fn output(&mut self, port: u16, size: usize, value: u32) {
        self.pc.output(port, size, value);
        let name = ["outb", "outw", "", "outl"][size - 1];
        self.note(format!("{name} {port:#x} {value:#x}"), None);
    }

    fn read(&mut self, address: u64, data: &mut [u8]) {
        self.pc.read(address, data);
        self.note(format!("read {address:#x}+{}", data.len()), Some(data.to_vec()));
    }

    fn write(&mut self, address: u64, data: &[u8]) {
        self.pc.write(address, data);
        self.note(format!("write {address:#x} {data:02x?}"), None);
    }

    fn is_natoma(&self) -> bool {
        self.pc.is_natoma()
    }

    fn has_clock(&self) -> bool {
        false
    }

    fn clock_step(&mut self, _: u64) {
        panic!("a script moves a clock that is not there");
    }

    fn irq(&mut self, gsi: u32) -> bool {
        let level = self.pc.irq(gsi);
        self.note(format!("irq {gsi}"), Some(vec![level.into()]));
        level
    }

    fn section(&mut self, name: &str) {
        name.clone_into(&mut self.section);
    }

    fn leave_out(&mut self, yes: bool) {
        self.leaves_out = yes;
    }

    fn finding(&mut self, what: &str, answer: &[u8]) {
        self.note(what.into(), Some(answer.into()));
    }
}

/// Compares two transcripts of one script. Returns a line for each difference that is not known, and for each known one that is not there,
/// or not in all its bits. Once the machines have been asked different things, the rest can't be compared.
pub fn compare(natoma: &[Step], qemu: &[Step], known: &[Difference]) -> Vec<String> {
    let mut report = Vec::new();
    let mut places: Vec<(&Place, u64)> = known.iter().flat_map(|known| known.places).map(|place| (place, 0)).collect();
    for (position, (ours, theirs)) in natoma.iter().zip(qemu).enumerate() {
        if (&ours.section, &ours.access) != (&theirs.section, &theirs.access) {
            report.push(format!(
                "step {position}: natoma is asked '{ours}', QEMU '{theirs}': the script went another way"
            ));
            return report;
        }
        let (Some(our), Some(their)) = (&ours.answer, &theirs.answer) else { continue };
        let bits = our.difference(their);
        let mut excused = 0;
        for (place, seen) in places.iter_mut().filter(|(place, _)| place.is_of(ours)) {
            *seen |= bits & place.bits;
            excused |= place.bits;
        }
        if bits & !excused != 0 {
            report.push(format!("step {position}: {ours}, QEMU {their}"));
        }
    }
    if natoma.len() != qemu.len() {
        report.push(format!("natoma took {} steps, QEMU {}", natoma.len(), qemu.len()));
    }
    let gone = places.iter().filter(|(place, seen)| place.bits != *seen);
    report.extend(gone.map(|(Place { section, access, bits }, seen)| {
        format!("'{section}: {access}' is listed to differ in the bits {bits:#x} and does in {seen:#x}")
    }));
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(access: &str, answer: u8) -> Step {
        Step { section: "s".into(), access: access.into(), answer: Some(Answer(vec![answer])) }
    }

    #[test]
    fn differences_are_told_unless_they_are_known() {
        let ours = [step("inb 0x1", 0), step("inb 0x12", 0)];
        let theirs = [step("inb 0x1", 3), step("inb 0x12", 0)];
        assert_eq!(compare(&ours, &ours, &[]), Vec::<String>::new());
        assert_eq!(compare(&ours, &theirs, &[]), ["step 0: s: inb 0x1 = 00, QEMU 03"]);
        const KNOWN: &[Difference] = &[Difference { places: &[at("s", "inb 0x1", 3)], reason: "" }];
        assert_eq!(compare(&ours, &theirs, KNOWN), Vec::<String>::new());
        assert!(compare(&ours, &theirs[1..], &[])[0].contains("another way"));
        assert_eq!(compare(&ours, &theirs[..1], KNOWN), ["natoma took 2 steps, QEMU 1"]);
    }

    #[test]
    fn a_known_difference_is_exact() {
        let (ours, theirs) = ([step("inb 0x1", 0)], [step("inb 0x1", 3)]);
        for (place, gone) in [
            (at("s", "inb 0x1", 1), 0),
            (at("s", "inb 0x1", 7), 1),
            (at("s", "inb 0x", 3), 1),
            (at("", "inb 0x1", 3), 1),
            (at("s", "", 3), 1),
        ] {
            let places: &'static [Place] = Box::leak(Box::new([place]));
            let report = compare(&ours, &theirs, &[Difference { places, reason: "" }]);
            let listed = report.iter().filter(|line| line.contains("is listed to differ")).count();
            assert_eq!(listed, gone, "{report:?}");
            assert_ne!(report, Vec::<String>::new(), "{places:?}");
        }
    }
}
