//! The numbers of the board: which port, interrupt or address each part of the i440FX + PIIX3 machine sits at.
//!
//! Device models know none of these; the board gives them to the models, and the firmware tables tell them to the guest.

/// Interrupt inputs shared by the 8259 pair and the I/O APIC (GSI = ISA IRQ).
pub mod irq {
    /// i8042 keyboard port.
    pub const KEYBOARD: u8 = 1;
    /// COM1 to COM4.
    pub const COM: [u8; 4] = [4, 3, 4, 3];
    /// Floppy controller.
    pub const FDC: u8 = 6;
    /// LPT1.
    pub const LPT: u8 = 7;
    /// MC146818 real-time clock.
    pub const RTC: u8 = 8;
    /// IDE controller: primary and secondary channel.
    pub const IDE: [u8; 2] = [14, 15];
    /// ACPI system control interrupt: wired to the input itself, not through the PIRQ router.
    pub const SCI: u8 = 9;
    /// i8042 auxiliary (mouse) port.
    pub const MOUSE: u8 = 12;
    /// I/O APIC input of the 8254, whose 8259 input is 0.
    pub const PIT_GSI: u8 = 2;
    /// Interrupts that a PIRQ may be routed to, besides the SCI; the guest's choice among them.
    pub const PIRQ_CHOICES: [u8; 3] = [5, 10, 11];
    /// What firmware routes PIRQA to PIRQD to.
    pub const PIRQ_DEFAULT: [u8; 4] = [10, 10, 11, 11];
}

/// General purpose events.
pub mod gpe {
    /// PCI devices come or go.
    pub const PCI_HOTPLUG: u8 = 1;
    /// Processors come or go.
    pub const CPU_HOTPLUG: u8 = 2;
}

/// Channels of the 8237 pair.
pub mod dma {
    /// Floppy controller.
    pub const FDC: u8 = 2;
}

/// I/O port bases.
pub mod port {
    use std::ops::Range;

    /// Where QEMU's machine has the registers that only its ACPI tables tell of: hot-plug of PCI devices and CPUs, and
    /// [`GPE0`].
    pub const ACPI: Range<u16> = 0xae00..0xb000;
    /// DMA controller for bytes: channels, control, the page registers of channels 2, 3 and 1, that of channel 0.
    pub const DMA_BYTES: [u16; 4] = [0x00, 0x08, 0x81, 0x87];
    /// DMA controller for words: channels, control, the page registers of channels 6, 7 and 5, that of channel 4.
    pub const DMA_WORDS: [u16; 4] = [0xc0, 0xd0, 0x89, 0x8f];
    /// 8259 pair: the first, the second, ELCR.
    pub const PIC: [u16; 3] = [0x20, 0xa0, 0x4d0];
    /// 8254: three counters and the control word.
    pub const PIT: u16 = 0x40;
    /// NMI status and control: the gate and the output of the 8254's counter 2.
    pub const NMI_STATUS_CONTROL: u16 = 0x61;
    /// i8042 data register.
    pub const KBC_DATA: u16 = 0x60;
    /// i8042 command and status register.
    pub const KBC_COMMAND: u16 = 0x64;
    /// MC146818 index register; data follows at +1.
    pub const RTC: u16 = 0x70;
    /// Power-on self test code.
    pub const POST_CODE: u16 = 0x80;
    /// Fast reset and A20.
    pub const PORT92: u16 = 0x92;
    /// APM control register: a write raises an SMI where there is one.
    pub const APM_CONTROL: u16 = 0xb2;
    /// LPT1 to LPT3.
    pub const LPT: [u16; 3] = [0x378, 0x278, 0x3bc];
    /// COM1 to COM4.
    pub const COM: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
    /// Floppy controller: status register B, the first one that is decoded.
    pub const FDC_SRB: u16 = 0x3f1;
    /// Floppy controller: the digital output register and the three that follow it.
    pub const FDC: u16 = 0x3f2;
    /// Floppy controller: digital input and configuration control register.
    pub const FDC_DIR: u16 = 0x3f7;
    /// IDE controller: command block and control port of the primary and the secondary channel.
    pub const IDE: [[u16; 2]; 2] = [[0x1f0, 0x3f6], [0x170, 0x376]];
    /// Where firmware puts the bus master of the IDE controller.
    pub const IDE_MASTER: u16 = 0xc000;
    /// QEMU's firmware configuration device.
    pub const FW_CFG: u16 = 0x510;
    /// Where firmware puts the 64-byte power management block of the PIIX4 (PMBA).
    pub const PM: u16 = 0x600;
    /// Where firmware puts the SMBus host registers of the PIIX4 (SMBBA).
    pub const SMBUS: u16 = 0x700;
    /// Where a write stops the IB700 watchdog, and where it starts it.
    pub const IB700_DISABLE: u16 = 0x441;
    /// See [`IB700_DISABLE`].
    pub const IB700_ENABLE: u16 = 0x443;
    /// The windows of pc-testdev: latch, page to be flushed, latch by bytes, interrupts.
    pub const PC_TESTDEV: [u16; 4] = [0xe0, 0xe4, 0xe8, 0x2000];
    /// Reset control register (RC) of the PIIX3.
    pub const RESET_CONTROL: u16 = 0xcf9;
    /// Configuration mechanism #1: CONFADD, with CONFDATA at +4.
    pub const PCI_CONFIG: u16 = 0xcf8;
    /// VMware's port.
    pub const VMPORT: u16 = 0x5658;
    /// Registers for hot-plug of PCI devices.
    pub const PCI_HOTPLUG: u16 = 0xae00;
    /// Registers for hot-plug of processors.
    pub const CPU_HOTPLUG: u16 = 0xaf00;
    /// fw_cfg: address of a transfer descriptor.
    pub const FW_CFG_DMA: u16 = 0x514;
    /// General purpose event block 0 of the PIIX4: two bytes of status, two of enables.
    pub const GPE0: u16 = 0xafe0;
}

/// PCI addresses of the built-in functions: (device, function) on bus 0.
pub mod pci {
    /// PIIX3 PCI-to-ISA bridge.
    pub const ISA_BRIDGE: (u8, u8) = (1, 0);
    /// PIIX3 IDE controller.
    pub const IDE: (u8, u8) = (1, 1);
    /// PIIX4 power management.
    pub const POWER: (u8, u8) = (1, 3);
    /// PIRQRCA of the ISA bridge; PIRQRCB to PIRQRCD follow.
    pub const PIRQRCA: u8 = 0x60;
    /// Devices a bus can hold.
    pub const SLOTS: u8 = 32;

    /// The PIRQ (0 = PIRQA) that interrupt pin `pin` (0 = INTA#) of device `slot` is wired to.
    pub const fn pirq(slot: u8, pin: u8) -> u8 {
        slot.wrapping_add(pin).wrapping_sub(1) & 3
    }

    /// The interrupt that it raises when PIRQA to PIRQD are routed to `pirqs`. Pin A of the ISA bridge's slot is that of
    /// the power management function, which is wired to the SCI.
    pub const fn interrupt(slot: u8, pin: u8, pirqs: [u8; 4]) -> u8 {
        if slot == ISA_BRIDGE.0 && pin == 0 { super::irq::SCI } else { pirqs[pirq(slot, pin) as usize] }
    }
}

/// Commands that firmware without system management mode never needs and firmware with it answers to.
pub mod smi {
    /// Written to the APM control register: hand the power management registers to the operating system.
    pub const ACPI_ENABLE: u8 = 0xf1;
    /// Written to the APM control register: take them back.
    pub const ACPI_DISABLE: u8 = 0xf0;
}
