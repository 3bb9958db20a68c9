//! Disks of the whole program, on a host that fails: what the guest is told, when the machine stops, and that nothing is lost.
//!
//! The machine has no processors: a client of the qtest protocol drives the disks as a guest's drivers do.

mod disk;
mod faults;
mod host_devices;
mod images;
mod kill;
mod limits;
mod machine;
mod odd_images;
mod servers;
mod virtio;

pub use disk::{Disk, Ide, Outcome};
pub use machine::Machine;
pub use virtio::{Scsi, Virtio};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// Something to do on a disk.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    Read {
        sector: u32,
        count: u8,
    },
    /// Each byte gets this value.
    Write {
        sector: u32,
        count: u8,
        value: u8,
    },
    Flush,
}

/// A kind of disk: its devices, and what drives it.
pub struct Kind {
    pub devices: &'static [&'static str],
    pub driver: fn(&mut Machine) -> Box<dyn Disk>,
}

pub const KINDS: [Kind; 3] = [
    Kind { devices: &["ide-hd,drive=d,bus=ide.0,unit=0"], driver: |machine| Box::new(Ide::new(machine).unwrap()) },
    Kind { devices: &[Virtio::DEVICE], driver: |machine| Box::new(Virtio::new(machine).unwrap()) },
    Kind { devices: &Scsi::DEVICES, driver: |machine| Box::new(Scsi::new(machine).unwrap()) },
];

impl Kind {
    /// A machine with such a disk over a drive.
    pub fn start(&self, drive: &str) -> (Machine, Box<dyn Disk>) {
        let drive = format!("if=none,id=d,{drive}");
        let devices = self.devices.iter().flat_map(|device| ["-device", *device]);
        let options: Vec<_> = ["-drive", &drive].into_iter().chain(devices).collect();
        let mut machine = Machine::start(&options);
        let disk = (self.driver)(&mut machine);
        (machine, disk)
    }
}
