//! The board: machine type, accelerator and chipset options.

use serde::{Deserialize, Serialize};

/// The board and its chipset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformConfig {
    /// Which board.
    pub machine: MachineType,
    /// What runs the guest's instructions.
    pub accel: Accel,
    /// Where the interrupt controllers and the PIT live.
    pub kernel_irqchip: KernelIrqchip,
    /// ACPI tables and the ACPI side of the power management function exist.
    pub acpi: bool,
    /// The HPET exists.
    pub hpet: bool,
    /// What it can do.
    pub hpet_properties: HpetConfig,
    /// The keyboard controller exists.
    pub i8042: bool,
    /// VMware's port exists, with a mouse if the keyboard controller exists.
    pub vmport: bool,
    /// The machine has a display. False with `-nographic`: firmware then uses the serial port as its console.
    pub graphics: bool,
    /// Highest address in bytes of RAM below 4 GiB; more RAM continues at 4 GiB. At most 4 GiB; `None`: the board's
    /// own split.
    pub max_ram_below_4g: Option<u64>,
    /// Most bytes that the flash chips may have together, at most 16 MiB.
    pub max_firmware_size: u64,
    /// Form of the SMBIOS entry point.
    pub smbios_entry_point: SmbiosEntryPoint,
    /// OEM id of the ACPI tables: at most 6 bytes; `None`: natoma's.
    pub acpi_oem_id: Option<String>,
    /// OEM table id of the ACPI tables: at most 8 bytes; `None`: natoma's.
    pub acpi_oem_table_id: Option<String>,
    /// What the in-kernel PIT does with timer interrupts the guest was too slow for (`delay` or `discard`); `None`: what
    /// suits the host.
    pub pit_lost_ticks: Option<LostTickPolicy>,
    /// Sleep states of the power management function.
    pub power: PowerConfig,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        Self {
            machine: MachineType::Pc,
            accel: Accel::Kvm,
            kernel_irqchip: KernelIrqchip::On,
            acpi: true,
            hpet: true,
            hpet_properties: HpetConfig::default(),
            i8042: true,
            vmport: true,
            graphics: true,
            max_ram_below_4g: None,
            max_firmware_size: 8 << 20,
            smbios_entry_point: SmbiosEntryPoint::V21,
            acpi_oem_id: None,
            acpi_oem_table_id: None,
            pit_lost_ticks: None,
            power: PowerConfig::default(),
        }
    }
}

/// The HPET's abilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HpetConfig {
    /// Number of timers: 3 to 24.
    pub timers: u8,
    /// Timers can send messages instead of raising a line.
    pub messages: bool,
    /// A bit for each input of the I/O APIC that timers can be routed to.
    pub routes: u32,
}

impl HpetConfig {
    /// All inputs of the I/O APIC; 0 stands for the timer, as 2 does.
    pub const INPUTS: u32 = 0xff_ffff;
}

impl Default for HpetConfig {
    fn default() -> Self {
        Self { timers: 3, messages: false, routes: 1 << 2 }
    }
}

/// The boards natoma has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineType {
    /// i440FX and PIIX3: QEMU's `pc`.
    #[default]
    Pc,
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// The host kernel's KVM.
    #[default]
    Kvm,
    /// Nothing: the devices are driven from outside, by the qtest protocol, in virtual time.
    Qtest,
}

/// Where the interrupt controllers live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelIrqchip {
    /// PIC, IOAPIC, local APICs and PIT in the kernel.
    #[default]
    On,
    /// Local APICs in the kernel; PIC, IOAPIC and PIT in natoma.
    Split,
    /// All of them in natoma.
    Off,
}

/// Form of the SMBIOS entry point structure (SMBIOS specification 3.x, section 5.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SmbiosEntryPoint {
    /// The 32-bit `_SM_` anchor (SMBIOS 2.1).
    #[default]
    #[serde(rename = "32")]
    V21,
    /// The 64-bit `_SM3_` anchor (SMBIOS 3.0).
    #[serde(rename = "64")]
    V30,
}

/// What a periodic timer does with ticks that the guest was too slow to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostTickPolicy {
    /// They are lost.
    Discard,
    /// They are delivered later at the normal rate: the guest's time lags behind.
    Delay,
    /// They are delivered later at a higher rate until the guest has caught up.
    Slew,
}

/// Sleep states of the PIIX4 power management function, as QEMU's `PIIX4_PM` properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerConfig {
    /// Do not offer S3 (suspend to RAM).
    pub disable_s3: bool,
    /// Do not offer S4 (suspend to disk).
    pub disable_s4: bool,
    /// `SLP_TYP` value that means S4: 0 to 7.
    pub s4_value: u8,
}

impl Default for PowerConfig {
    fn default() -> Self {
        Self { disable_s3: false, disable_s4: false, s4_value: 2 }
    }
}
