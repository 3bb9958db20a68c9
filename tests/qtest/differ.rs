//! Runs one script on two machines and tells where their answers differ.

use std::fmt;

use crate::pc::Pc;

/// A difference between natoma and QEMU that is as it should be.
pub struct Difference {
    /// The section of the script, or its beginning; empty: any.
    pub section: &'static str,
    /// The access, or its beginning, as a [`Step`] shows it.
    pub access: &'static str,
    /// Why natoma does not do as QEMU does.
    pub reason: &'static str,
}

impl Difference {
    fn covers(&self, step: &Step) -> bool {
        step.section.starts_with(self.section) && step.access.starts_with(self.access)
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
    pub answer: Option<String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, access, answer } = self;
        write!(f, "{section}: {access}")?;
        answer.as_ref().map_or(Ok(()), |answer| write!(f, " = {answer}"))
    }
}

/// Writes down what a script does and what it is answered.
pub struct Recorder<'a> {
    pc: &'a mut dyn Pc,
    section: String,
    steps: Vec<Step>,
}

impl<'a> Recorder<'a> {
    pub fn new(pc: &'a mut dyn Pc) -> Self {
        Self { pc, section: "start".into(), steps: Vec::new() }
    }

    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    fn note(&mut self, access: String, answer: Option<String>) {
        self.steps.push(Step { section: self.section.clone(), access, answer });
    }
}

impl Pc for Recorder<'_> {
    fn input(&mut self, port: u16, size: usize) -> u32 {
        let value = self.pc.input(port, size);
        let name = ["inb", "inw", "", "inl"][size - 1];
        self.note(format!("{name} {port:#x}"), Some(format!("{value:#x}")));
        value
    }

    fn output(&mut self, port: u16, size: usize, value: u32) {
        self.pc.output(port, size, value);
        let name = ["outb", "outw", "", "outl"][size - 1];
        self.note(format!("{name} {port:#x} {value:#x}"), None);
    }

    fn read(&mut self, address: u64, data: &mut [u8]) {
        self.pc.read(address, data);
        self.note(format!("read {address:#x}+{}", data.len()), Some(format!("{data:02x?}")));
    }

    fn write(&mut self, address: u64, data: &[u8]) {
        self.pc.write(address, data);
        self.note(format!("write {address:#x} {data:02x?}"), None);
    }

    fn is_natoma(&self) -> bool {
        self.pc.is_natoma()
    }

    fn has_clock(&self) -> bool {
        self.pc.has_clock()
    }

    fn clock_step(&mut self, ns: u64) {
        self.pc.clock_step(ns);
        self.note(format!("clock_step {ns}"), None);
    }

    fn irq(&mut self, gsi: u32) -> bool {
        let level = self.pc.irq(gsi);
        self.note(format!("irq {gsi}"), Some(level.to_string()));
        level
    }

    fn section(&mut self, name: &str) {
        name.clone_into(&mut self.section);
    }
}

/// Compares two transcripts of one script. Returns a line for each difference that is not known; once the machines have been
/// asked different things, the rest can't be compared.
pub fn compare(natoma: &[Step], qemu: &[Step], known: &[Difference]) -> Vec<String> {
    let mut report = Vec::new();
    for (position, (ours, theirs)) in natoma.iter().zip(qemu).enumerate() {
        if (&ours.section, &ours.access) != (&theirs.section, &theirs.access) {
            report.push(format!(
                "step {position}: natoma is asked '{ours}', QEMU '{theirs}': the script went another way"
            ));
            return report;
        }
        if ours.answer != theirs.answer && !known.iter().any(|known| known.covers(ours)) {
            let answer = theirs.answer.as_deref().unwrap_or_default();
            report.push(format!("step {position}: {ours}, QEMU {answer}"));
        }
    }
    if natoma.len() != qemu.len() {
        report.push(format!("natoma took {} steps, QEMU {}", natoma.len(), qemu.len()));
    }
    report
}

/// Differences that are listed but do not happen: their reason is gone.
pub fn obsolete<'a>(natoma: &[Step], qemu: &[Step], known: &'a [Difference]) -> Vec<&'a Difference> {
    let happens = |known: &Difference| {
        natoma.iter().zip(qemu).any(|(ours, theirs)| ours.answer != theirs.answer && known.covers(ours))
    };
    known.iter().filter(|known| !happens(known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(access: &str, answer: &str) -> Step {
        Step { section: "s".into(), access: access.into(), answer: Some(answer.into()) }
    }

    #[test]
    fn differences_are_told_unless_they_are_known() {
        let ours = [step("inb 0x1", "0x0"), step("inb 0x2", "0x0")];
        let theirs = [step("inb 0x1", "0x1"), step("inb 0x2", "0x0")];
        assert_eq!(compare(&ours, &ours, &[]), Vec::<String>::new());
        assert_eq!(compare(&ours, &theirs, &[]), ["step 0: s: inb 0x1 = 0x0, QEMU 0x1"]);
        let known = [Difference { section: "", access: "inb 0x1", reason: "" }];
        assert_eq!(compare(&ours, &theirs, &known), Vec::<String>::new());
        assert_eq!(obsolete(&ours, &theirs, &known).len(), 0);
        assert_eq!(obsolete(&ours, &ours, &known).len(), 1);
        assert!(compare(&ours, &theirs[1..], &[])[0].contains("another way"));
    }
}
