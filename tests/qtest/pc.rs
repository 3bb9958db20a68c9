//! A PC as a driver sees it: ports, memory, interrupt inputs, and a clock that can be moved.

use natoma::qtest::QtestMachine;

/// What a script drives. Every access can be a step of a transcript.
pub trait Pc {
    /// Reads `size` bytes (1, 2 or 4) from an I/O port.
    fn input(&mut self, port: u16, size: usize) -> u32;

    /// Writes `size` bytes (1, 2 or 4) to an I/O port.
    fn output(&mut self, port: u16, size: usize, value: u32);

    /// Reads memory: one access if there are 1, 2, 4 or 8 bytes.
    fn read(&mut self, address: u64, data: &mut [u8]);

    /// Writes memory: one access if there are 1, 2, 4 or 8 bytes.
    fn write(&mut self, address: u64, data: &[u8]);

    /// Whether this is natoma: for assertions where QEMU is known to differ.
    fn is_natoma(&self) -> bool;

    /// Whether [`Self::clock_step`] can be used: not with a QEMU that was built without qtest, where time stands still.
    fn has_clock(&self) -> bool;

    /// Moves time on by `ns` nanoseconds, timer by timer.
    fn clock_step(&mut self, ns: u64);

    /// Level of interrupt input `gsi`. Levels are known from the first call on; until then they count as low.
    fn irq(&mut self, gsi: u32) -> bool;

    /// Names what follows in transcripts and reports.
    fn section(&mut self, _name: &str) {}

    /// Begins to leave accesses out of transcripts, or ends to: what the script makes of their answers is then a [`Self::finding`].
    fn leave_out(&mut self, _yes: bool) {}

    /// What the script has found out, as a step of transcripts.
    fn finding(&mut self, _what: &str, _answer: &[u8]) {}

    fn inb(&mut self, port: u16) -> u8 {
        self.input(port, 1) as u8
    }

    fn inw(&mut self, port: u16) -> u16 {
        self.input(port, 2) as u16
    }

    fn inl(&mut self, port: u16) -> u32 {
        self.input(port, 4)
    }

    fn outb(&mut self, port: u16, value: u8) {
        self.output(port, 1, value.into());
    }

    fn outw(&mut self, port: u16, value: u16) {
        self.output(port, 2, value.into());
    }

    fn outl(&mut self, port: u16, value: u32) {
        self.output(port, 4, value);
    }

    fn readb(&mut self, address: u64) -> u8 {
        let mut data = [0; 1];
        self.read(address, &mut data);
        data[0]
    }

    fn readw(&mut self, address: u64) -> u16 {
        let mut data = [0; 2];
        self.read(address, &mut data);
        u16::from_le_bytes(data)
    }

    fn readl(&mut self, address: u64) -> u32 {
        let mut data = [0; 4];
        self.read(address, &mut data);
        u32::from_le_bytes(data)
    }

    fn readq(&mut self, address: u64) -> u64 {
        let mut data = [0; 8];
        self.read(address, &mut data);
        u64::from_le_bytes(data)
    }

    fn writeb(&mut self, address: u64, value: u8) {
        self.write(address, &[value]);
    }

    fn writew(&mut self, address: u64, value: u16) {
        self.write(address, &value.to_le_bytes());
    }

    fn writel(&mut self, address: u64, value: u32) {
        self.write(address, &value.to_le_bytes());
    }

    fn writeq(&mut self, address: u64, value: u64) {
        self.write(address, &value.to_le_bytes());
    }

    /// Reads `size` bytes at `register` of the configuration space of `function` on bus 0.
    fn pci_read(&mut self, (slot, function): (u8, u8), register: u8, size: usize) -> u32 {
        self.outl(0xcf8, config_address(slot, function, register));
        self.input(0xcfc + u16::from(register & 3), size)
    }

    /// Writes `size` bytes at `register` of the configuration space of `function` on bus 0.
    fn pci_write(&mut self, (slot, function): (u8, u8), register: u8, size: usize, value: u32) {
        self.outl(0xcf8, config_address(slot, function, register));
        self.output(0xcfc + u16::from(register & 3), size, value);
    }
}

fn config_address(slot: u8, function: u8, register: u8) -> u32 {
    1 << 31 | u32::from(slot) << 11 | u32::from(function) << 8 | u32::from(register & 0xfc)
}

/// natoma's board in this process.
pub struct InProcess {
    machine: QtestMachine,
    levels: Option<u32>,
}

impl InProcess {
    pub fn new(options: &[&str]) -> Self {
        let machine = QtestMachine::new(options).unwrap_or_else(|error| panic!("{options:?}: {error:#}"));
        Self { machine, levels: None }
    }
}

impl Pc for InProcess {
    fn input(&mut self, port: u16, size: usize) -> u32 {
        match size {
            1 => self.machine.inb(port).into(),
            2 => self.machine.inw(port).into(),
            _ => self.machine.inl(port),
        }
    }

    fn output(&mut self, port: u16, size: usize, value: u32) {
        match size {
            1 => self.machine.outb(port, value as u8),
            2 => self.machine.outw(port, value as u16),
            _ => self.machine.outl(port, value),
        }
    }

    fn read(&mut self, address: u64, data: &mut [u8]) {
        self.machine.read_memory(address, data);
    }

    fn write(&mut self, address: u64, data: &[u8]) {
        self.machine.write_memory(address, data);
    }

    fn is_natoma(&self) -> bool {
        true
    }

    fn has_clock(&self) -> bool {
        true
    }

    fn clock_step(&mut self, ns: u64) {
        self.machine.clock_step(ns).unwrap();
    }

    fn irq(&mut self, gsi: u32) -> bool {
        let levels = self.levels.get_or_insert_default();
        self.machine.intercept("ioapic").unwrap();
        for change in self.machine.take_interrupts() {
            *levels = *levels & !(1 << change.pin) | u32::from(change.level) << change.pin;
        }
        *levels >> gsi & 1 != 0
    }
}
