//! The description of a machine: plain typed data, the only thing the rest of the program is built from.
//!
//! The command line produces a [`MachineConfig`], the machine is built from it, and a saved machine carries it. Nothing
//! here opens a file, asks the host anything or knows the syntax of an option. Defaults, sugar (`-no-reboot`,
//! `-nographic`, `-mem-path` ...) and `-global` are already resolved when a configuration leaves the command line: a
//! reader of these types never has to know which option a value came from.

mod block;
mod block_drivers;
mod block_node;
mod boot;
mod catalogue;
mod chardev;
mod cpu;
mod device;
mod disk;
mod floppy;
mod ide;
mod io_thread;
mod isa;
mod memory;
mod numa;
mod parallel;
mod pci;
mod platform;
mod rtc;
mod run;
mod scsi;
mod tables;
mod virtio;

pub use block::{Access, Aio, CacheMode, DetectZeroes, Drive, Locking, OnError, PFLASH_UNITS};
pub use block_drivers::{
    BlkdebugConfig, BlkdebugEvent, BlkdebugRequest, InjectError, Limit, NBD_PORT, NbdConfig, NbdServer, NullConfig,
    SetState, Throttle, ThrottleGroup, ThrottleLimits,
};
pub use block_node::{Backing, Blkdebug, Child, FileConfig, FileKind, NodeConfig, NodeDriver};
pub use boot::{BootConfig, BootOrder, Firmware, FirmwareFile, FirmwareFileContents, OptionRom};
pub use catalogue::{Catalogue, CpuModel, DeviceProperty, DeviceType, OptionGroup};
pub use chardev::{Chardev, ChardevBackend, SocketAddress};
pub use cpu::{CpuConfig, CpuProperty, Smp};
pub use device::{DeviceConfig, IsaDebugExit, IsaDebugcon, IsaSerial};
pub use disk::DiskBlocks;
pub use floppy::{FLOPPY_DRIVES, FdcConfig, FdcDrive, FloppyDevice, FloppyKind};
pub use ide::{ChsTranslation, IDE_BUSES, IDE_PLACES, IdeDrive};
pub use io_thread::IoThread;
pub use isa::{PlainDevice, Pvpanic};
pub use memory::{MemoryBackend, MemoryBackendKind, MemoryConfig};
pub use numa::NumaConfig;
pub use parallel::IsaParallel;
pub use pci::{PciBridge, PciDevice, PciFunction, PciPlace, PciReserve, PciRom, PciSerial, PciTestdev, PvpanicPci};
pub use platform::{
    Accel, HpetConfig, KernelIrqchip, LostTickPolicy, MachineType, PlatformConfig, PowerConfig, SmbiosEntryPoint,
};
pub use rtc::{RtcBase, RtcClock, RtcConfig};
pub use run::{
    Actions, Identity, LogConfig, LogItem, MonitorConfig, MonitorMode, PanicAction, QtestConfig, RebootAction,
    RunConfig, ShutdownAction, WatchdogAction,
};
pub use scsi::{ScsiDisk, ScsiDrive, VirtioScsi};
pub use tables::{
    AcpiTableConfig, SmbiosBios, SmbiosBoard, SmbiosChassis, SmbiosConfig, SmbiosMemory, SmbiosOnboard, SmbiosPort,
    SmbiosProcessor, SmbiosSystem, SmbiosText,
};
pub use virtio::{VirtioBlk, VirtioInterface, VirtioOptions};

use serde::{Deserialize, Serialize};

/// Number of serial ports a PC has: COM1 to COM4.
pub const SERIAL_PORTS: usize = 4;
/// Number of parallel ports a PC has: LPT1 to LPT3.
pub const PARALLEL_PORTS: usize = 3;

/// Everything that describes one virtual machine and how its process behaves.
///
/// References between parts are by id (a serial port names its character device); every id in a configuration that
/// comes from the command line resolves, and each character device that is not a multiplexer has at most one user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// Name and UUID of the guest.
    pub identity: Identity,
    /// The board: machine type, accelerator and the options of the chipset.
    pub platform: PlatformConfig,
    /// CPU model and its properties.
    pub cpu: CpuConfig,
    /// Number and topology of the CPUs.
    pub smp: Smp,
    /// Guest RAM and what it is made of.
    pub memory: MemoryConfig,
    /// NUMA nodes.
    pub numa: NumaConfig,
    /// What the machine boots.
    pub boot: BootConfig,
    /// Real-time clock.
    pub rtc: RtcConfig,
    /// Character devices of the host, in the order in which they were defined. Ids are unique.
    pub chardevs: Vec<Chardev>,
    /// Limits that drives and nodes share. Ids are unique.
    pub throttle_groups: Vec<ThrottleGroup>,
    /// Block nodes that others refer to by their names, each after those that it refers to. Names are unique.
    pub nodes: Vec<NodeConfig>,
    /// Drives of the host, in the order in which they were defined. Ids are unique, and each has at most one user.
    pub drives: Vec<Drive>,
    /// Threads that serve the queues of devices, in the order in which they were defined. Ids are unique.
    pub io_threads: Vec<IoThread>,
    /// The floppy controller and its drives.
    pub fdc: FdcConfig,
    /// The disks and CD drives of the IDE controller that no `-device` makes: [`DeviceConfig::IdeHd`] and
    /// [`DeviceConfig::IdeCd`].
    pub ide: Vec<DeviceConfig>,
    /// The drive behind each flash chip of the firmware; `None`: the chip does not exist.
    pub pflash: [Option<String>; PFLASH_UNITS],
    /// The character device behind each of COM1 to COM4 (index 0 is COM1); `None`: the port does not exist.
    pub serials: [Option<String>; SERIAL_PORTS],
    /// The character device behind each of LPT1 to LPT3 (index 0 is LPT1); `None`: the port does not exist.
    pub parallels: [Option<String>; PARALLEL_PORTS],
    /// Monitors, in the order in which they were asked for.
    pub monitors: Vec<MonitorConfig>,
    /// The qtest protocol, where it is spoken.
    pub qtest: Option<QtestConfig>,
    /// Devices added to those of the board, in command-line order.
    pub devices: Vec<DeviceConfig>,
    /// Further ACPI tables, in command-line order.
    pub acpi_tables: Vec<AcpiTableConfig>,
    /// What the user says of the SMBIOS tables.
    pub smbios: SmbiosConfig,
    /// How the process behaves: actions, daemon, start state.
    pub run: RunConfig,
    /// Log and trace output.
    pub log: LogConfig,
}

impl MachineConfig {
    /// The character device with this id.
    pub fn chardev(&self, id: &str) -> Option<&Chardev> {
        self.chardevs.iter().find(|chardev| chardev.id == id)
    }

    /// Firmware starts the machine, from a file or from a flash chip, and with it the kernel, if there is one.
    pub fn has_firmware(&self) -> bool {
        self.boot.firmware != Firmware::None || self.pflash.iter().any(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_configuration_loads_again_and_unknown_fields_are_refused() {
        let config = MachineConfig {
            chardevs: vec![Chardev {
                id: "serial0".into(),
                option: Some("serial".into()),
                backend: ChardevBackend::Stdio { signal: true },
                mux: true,
                logfile: None,
                logappend: false,
            }],
            serials: [Some("serial0".into()), None, None, None],
            devices: vec![DeviceConfig::IsaDebugExit(IsaDebugExit::default())],
            ..MachineConfig::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<MachineConfig>(&text).unwrap(), config);

        let unknown = text.replacen("{", "{\"sound\":true,", 1);
        assert!(serde_json::from_str::<MachineConfig>(&unknown).unwrap_err().to_string().contains("sound"));
    }
}
