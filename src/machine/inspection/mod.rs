//! Looking into a machine for people, and what they may change by hand: the part of the human monitor that knows the
//! hardware. Texts have QEMU's form where programs read them.

mod access;
mod dump;
mod input;
mod media;
mod memory;
mod nodes;
mod pci;
mod tree;

use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use super::interrupt_report::ReadInterrupts;
use super::pc::view::BoardView;
use super::qom::Paths;
use crate::config::MachineConfig;
use crate::host::block::Blocks;
use crate::kvm::address_space::AddressSpace;
use crate::kvm::inspect::Processors;
use crate::monitor::access::Access;
use crate::monitor::drives::{DriveInfo, Nodes};
use crate::monitor::pci::PciFunctionInfo;
use crate::monitor::{Dump, DumpFormat, MediumChange, View};

use self::media::Media;

/// ISA interrupts, which the 8259s see.
const ISA_IRQS: usize = 16;

/// What can be looked at in a machine that is complete. Its methods are called by the main thread with no device locked.
pub struct Inspection {
    /// The devices.
    pub board: BoardView,
    /// Memory and ports as processors see them.
    pub space: AddressSpace,
    /// Unless there are none.
    pub processors: Option<Processors>,
    /// Reads the interrupt controllers.
    pub interrupts: Option<ReadInterrupts>,
    media: Media,
    check_floppy: bool,
}

impl Inspection {
    /// Looks into the machine that was made as `config` says, whose objects are called `paths`.
    #[must_use]
    pub fn new(
        config: &MachineConfig,
        blocks: &Arc<Blocks>,
        board: BoardView,
        paths: &Paths,
        space: AddressSpace,
        processors: Option<Processors>,
        interrupts: Option<ReadInterrupts>,
    ) -> Self {
        Self {
            media: Media::new(config, Arc::clone(blocks), &board, paths),
            check_floppy: config.boot.order.check_floppy,
            board,
            space,
            processors,
            interrupts,
        }
    }

    fn processors(&self) -> Result<&Processors> {
        self.processors.as_ref().context("this machine has no processors")
    }

    /// Tells about a part of the machine.
    ///
    /// # Errors
    /// There is no such part, or the host refuses.
    pub fn view(&self, view: View) -> Result<String> {
        match view {
            View::InterruptControllers => {
                let read = self.interrupts.as_ref().context("this machine has no interrupt controllers")?;
                Ok(read()?.to_string())
            }
            View::InterruptCounts => Ok(self.interrupt_counts()),
            View::LocalApic(cpu) => self.processors()?.local_apic(cpu),
            View::Registers(cpu) => self.processors()?.registers(cpu),
            View::Devices => Ok(tree::describe(&self.board)),
            View::Memory => Ok(memory::tree(&self.board, &self.space)),
            View::Roms => Ok(memory::roms(&self.board, &self.space)),
            View::Dump(dump) => self.dump(dump),
        }
    }

    /// The functions on the PCI buses.
    #[must_use]
    pub fn pci(&self) -> Vec<PciFunctionInfo> {
        pci::functions(&self.board.pci)
    }

    /// Drives and what is in them.
    #[must_use]
    pub fn drives(&self) -> Vec<DriveInfo> {
        self.media.all()
    }

    /// The nodes of media.
    #[must_use]
    pub fn nodes(&self) -> &dyn Nodes {
        &self.media
    }

    /// How often each input has risen. Those that the kernel's own timer raises it does not tell of.
    fn interrupt_counts(&self) -> String {
        let mut text = String::new();
        let names = match self.board.has_interrupt_controllers {
            true => [("isa-i8259", ISA_IRQS), ("ioapic", usize::MAX)],
            false => [("kvm-i8259", ISA_IRQS), ("kvm-ioapic", usize::MAX)],
        };
        for (name, inputs) in names {
            // Writing to a String can't fail.
            let _ = writeln!(text, "IRQ statistics for {name}:");
            for (number, input) in self.board.gsis.iter().enumerate().take(inputs) {
                let count = input.rises();
                if count > 0 {
                    let _ = writeln!(text, "{number:2}: {count}");
                }
            }
        }
        text
    }

    fn dump(&self, dump: Dump) -> Result<String> {
        let read = |address: u64, data: &mut [u8]| self.read_memory(dump.processor, address, data);
        if dump.format != DumpFormat::Instructions {
            return dump::text(&dump, read);
        }
        // Processors wake up in real mode.
        let bitness = match &self.processors {
            Some(processors) => processors.bitness(dump.processor.unwrap_or(0))?,
            None => 16,
        };
        dump::instructions(&dump, bitness, read)
    }

    /// Reads memory at a linear address; `false` if not all of it is mapped.
    fn read_linear(&self, cpu: u32, address: u64, data: &mut [u8]) -> Result<bool> {
        const PAGE: u64 = 0x1000;
        let mut done = 0;
        while done < data.len() {
            let at = address.wrapping_add(done as u64);
            let in_page = (PAGE - at % PAGE) as usize;
            let end = data.len().min(done + in_page);
            let Some(physical) = self.processors()?.translate(cpu, at)? else { return Ok(false) };
            self.space.read(physical, &mut data[done..end]);
            done = end;
        }
        Ok(true)
    }

    /// Does something to a drive by hand.
    ///
    /// # Errors
    /// As for [`Control::change_medium`](crate::monitor::Control::change_medium).
    pub fn change_medium(&self, drive: &str, change: MediumChange, force: bool) -> Result<()> {
        self.media.change(drive, change, force)
    }

    /// Sets where firmware looks for an operating system from the next start on.
    ///
    /// # Errors
    /// A letter names no device.
    pub fn set_boot_order(&self, order: &str) -> Result<()> {
        for (at, letter) in order.char_indices() {
            if !('a'..='p').contains(&letter) {
                return Err(anyhow!("Invalid boot device '{letter}'"));
            }
            if order[..at].contains(letter) {
                return Err(anyhow!("Boot device '{letter}' was given twice"));
            }
            if !"abcdn".contains(letter) {
                return Err(anyhow!(
                    "Invalid boot device for PC: '{letter}'; a and b are floppies, c is a disk, d a CD-ROM, n the network"
                ));
            }
        }
        if order.len() > 3 {
            return Err(anyhow!("Too many boot devices for PC: three at most"));
        }
        self.board.set_boot_order(order, self.check_floppy);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::Request;
    use crate::command_line;
    use crate::monitor::drives::MediumInfo;
    use crate::monitor::{Medium, Writing};
    use crate::qtest::QtestMachine;

    fn machine(options: &[&str]) -> (QtestMachine, Inspection) {
        let fixed = ["-nodefaults", "-accel", "qtest", "-rtc", "clock=vm"];
        let Request::Run(config) =
            command_line::parse(fixed.iter().chain(options).map(OsString::from)).unwrap().request
        else {
            panic!("these options describe a machine");
        };
        let pc = QtestMachine::from_config(&config).unwrap();
        let paths = Paths { floppy_controller: "/fdc".into(), ..Paths::new(&config, pc.board()) };
        let inspection =
            Inspection::new(&config, pc.blocks(), pc.board().view(), &paths, pc.space().clone(), None, None);
        (pc, inspection)
    }

    #[test]
    fn interrupts_are_counted_at_both_controllers() {
        let (mut pc, inspection) = machine(&["-serial", "null"]);
        // COM1, which has nothing to send: OUT2, and twice the interrupt for that.
        pc.outb(0x3fc, 8);
        for enable in [2, 0, 2] {
            pc.outb(0x3f9, enable);
        }
        let text = inspection.view(View::InterruptCounts).unwrap();
        assert_eq!(text, "IRQ statistics for isa-i8259:\n 4: 2\nIRQ statistics for ioapic:\n 4: 2\n");
    }

    #[test]
    fn the_boot_order_is_where_firmware_looks() {
        let (mut pc, inspection) = machine(&[]);
        let mut cmos = |index| {
            pc.outb(0x70, index);
            pc.inb(0x71)
        };
        // QEMU's codes: 1 floppy, 2 disk, 3 CD-ROM, 4 network.
        inspection.set_boot_order("dna").unwrap();
        assert_eq!([cmos(0x3d), cmos(0x38)], [0x43, 0x10]);
        for bad in ["e", "z", "aa", "abcd", "A"] {
            assert!(inspection.set_boot_order(bad).is_err(), "{bad}");
        }
        assert_eq!([cmos(0x3d), cmos(0x38)], [0x43, 0x10]);
    }

    #[test]
    fn memory_is_shown_as_processors_see_it() {
        let (mut pc, inspection) = machine(&["-m", "2"]);
        pc.write_memory(0x1000, b"natoma");
        let dump = Dump { address: 0x1000, count: 2, size: 2, format: DumpFormat::Hex, processor: None };
        assert_eq!(inspection.view(View::Dump(dump)).unwrap(), "0000000000001000: 0x616e 0x6f74\n");
        // Nobody is at the end of the address space, and nothing comes behind it.
        let last = Dump { address: u64::MAX, count: 2, size: 8, ..dump };
        assert!(inspection.view(View::Dump(last)).unwrap().starts_with("ffffffffffffffff: "));
        let error = inspection.view(View::Dump(Dump { processor: Some(0), ..dump })).unwrap_err().to_string();
        assert!(error.contains("no processors"), "{error}");
        assert!(inspection.view(View::Registers(0)).is_err() && inspection.view(View::LocalApic(0)).is_err());
    }

    #[test]
    fn media_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let image = |name: &str, kib: u64| {
            let path = directory.path().join(name);
            std::fs::File::create(&path).unwrap().set_len(kib << 10).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (first, second) = (image("first", 1440), image("second", 720));
        let drive = format!("file={first},format=raw,if=floppy");
        let (mut pc, inspection) = machine(&["-drive", &drive, "-device", "floppy,unit=1,id=b"]);
        let floppies = [("floppy0", "/fdc"), ("b", "/machine/peripheral/b")];
        // Path, size and write protection of what is in both.
        let media = || {
            let drives = inspection.drives();
            for (drive, (id, object)) in drives.iter().zip(floppies) {
                assert_eq!(
                    (drive.id.as_str(), drive.device.as_ref().map(|device| device.object.as_str())),
                    (id, Some(object))
                );
            }
            let media = drives.into_iter().map(|drive| drive.medium);
            let medium = |MediumInfo { node, .. }: MediumInfo| {
                (node.image.file_name, node.image.virtual_size >> 10, node.read_only)
            };
            media.map(|found| found.map(medium)).collect::<Vec<_>>()
        };
        assert_eq!(media(), [Some((first.clone(), 1440, false)), None]);
        inspection.change_medium("floppy0", MediumChange::Eject, false).unwrap();
        assert_eq!(media(), [None, None]);

        let change = |drive: &str, path: &str, writing| {
            let medium = Medium { path: path.to_owned(), format: Some("raw".into()), writing };
            inspection.change_medium(drive, MediumChange::Insert(medium), false)
        };
        change("floppy0", &second, Writing::Forbidden).unwrap();
        assert_eq!(media()[0], Some((second.clone(), 720, true)));
        // The guest is told: disk change, in the digital input register of a drive that turns (82077AA, 2.1.8).
        pc.outb(0x3f2, 0x1c);
        assert_eq!(pc.inb(0x3f7) & 0x80, 0x80);
        change("b", &first, Writing::Retain).unwrap();
        assert_eq!(media()[1], Some((first, 1440, false)));

        // What can't be opened leaves everything as it is.
        let before = media();
        assert!(change("floppy0", "/no/such/file", Writing::Allowed).is_err());
        let error = inspection.change_medium("floppy7", MediumChange::Eject, false).unwrap_err().to_string();
        assert_eq!(error, "Device 'floppy7' not found");
        assert_eq!(media(), before);
    }

    #[test]
    fn cds_come_and_go_through_a_tray_that_the_guest_can_lock() {
        let directory = tempfile::tempdir().unwrap();
        let image = |name: &str, blocks: u64| {
            let path = directory.path().join(name);
            std::fs::File::create(&path).unwrap().set_len(blocks * 2048).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (first, second) = (image("first", 10), image("second", 20));
        let drive = format!("file={first},format=raw,if=none,id=d,readonly=on");
        let options = ["-drive", &drive, "-device", "ide-cd,drive=d,id=cd", "-device", "ide-cd,bus=ide.1"];
        let (mut pc, inspection) = machine(&options);
        let change = |drive: &str, change: MediumChange, force| {
            inspection.change_medium(drive, change, force).map_err(|error| format!("{error:#}"))
        };
        let insert = |path: &str, writing| {
            MediumChange::Insert(Medium { path: path.into(), format: Some("raw".into()), writing })
        };
        // Tray, lock and size of each.
        let look = || {
            let drive = |drive: DriveInfo| {
                let tray = drive.tray().unwrap();
                (tray.open, tray.locked, drive.medium.map_or(0, |medium| medium.node.image.virtual_size / 2048))
            };
            inspection.drives().into_iter().map(drive).collect::<Vec<_>>()
        };
        let names: Vec<_> = inspection.drives().into_iter().map(|info| (info.id, info.device.unwrap())).collect();
        assert_eq!((&*names[0].0, &*names[0].1.object), ("d", "/machine/peripheral/cd"));
        assert_eq!((&*names[1].0, &*names[1].1.object), ("ide1-cd0", "/machine/peripheral-anon/device[0]"));
        assert_eq!(look(), [(false, false, 10), (false, false, 0)]);

        assert_eq!(change("d", MediumChange::Remove, false).unwrap_err(), "Tray of device 'd' is not open");
        change("d", MediumChange::OpenTray, false).unwrap();
        assert_eq!(look()[0], (true, false, 10));
        change("d", MediumChange::CloseTray, false).unwrap();
        change("ide1-cd0", insert(&second, Writing::Retain), false).unwrap();
        assert_eq!(look(), [(false, false, 10), (false, false, 20)]);

        // The guest prevents removal: PACKET, 1Eh with bit 0 of byte 4.
        let mut packet = |bytes: [u8; 12]| {
            pc.outb(0x1f6, 0xa0);
            pc.outb(0x1f5, 0xff);
            pc.outb(0x1f7, 0xa0);
            bytes.chunks(2).for_each(|pair| pc.outw(0x1f0, u16::from_le_bytes([pair[0], pair[1]])));
            (pc.inb(0x1f7), (0..4).map(|_| pc.inw(0x1f0)).collect::<Vec<_>>())
        };
        // The first one is told that the medium has come back.
        packet([0; 12]);
        packet([0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let locked = "Device 'd' is locked and force was not specified, wait for tray to open and try again";
        assert_eq!(change("d", MediumChange::Eject, false).unwrap_err(), locked);
        assert_eq!(change("d", insert(&second, Writing::Retain), false).unwrap_err(), locked);
        change("d", MediumChange::OpenTray, false).unwrap();
        assert_eq!(look()[0], (false, true, 10));
        // GET EVENT STATUS NOTIFICATION: the user asks for it.
        let (_, event) = packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(event[2].to_le_bytes(), [1, 2]);
        change("d", MediumChange::Eject, true).unwrap();
        assert_eq!(look()[0], (true, false, 0));

        let before = look();
        assert!(change("d", insert("/no/such/file", Writing::Retain), false).is_err());
        assert!(change("d", insert(&second, Writing::Allowed), false).unwrap_err().contains("can't write"));
        assert_eq!(look(), before);
        change("d", insert(&first, Writing::Retain), false).unwrap();
        assert_eq!(look()[0], (false, false, 10));
    }
}
