//! The local APIC of the processor that runs this, through its page or, in x2APIC mode, through MSRs (Intel SDM volume
//! 3, "Advanced Programmable Interrupt Controller").

use core::sync::atomic::Ordering;

use crate::{
    interrupts::{LAPIC_EOI, SPURIOUS_VECTOR},
    memory::Mmio,
    ring0::{cpuid, rdmsr, wrmsr},
};

const IA32_APIC_BASE: u32 = 0x1b;
const APIC_BASE_ENABLE: u64 = 1 << 11;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const APIC_BASE_ADDRESS: u64 = 0xf_ffff_f000;
/// MSR of the register at offset 0; register offsets count in steps of 16, MSRs in steps of 1.
const X2APIC_MSRS: u32 = 0x800;

const ID: u32 = 0x20;
const VERSION: u32 = 0x30;
const EOI: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const SPURIOUS_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
const LVT_EXTINT: u32 = 7 << 8;
const DIVIDE_BY_1: u32 = 0b1011;
const ICR_INIT: u32 = 5 << 8;
const ICR_STARTUP: u32 = 6 << 8;
const ICR_ASSERT: u32 = 1 << 14;
const ICR_PENDING: u32 = 1 << 12;

/// CPUID.1: there is a local APIC (EDX), it has an x2APIC mode (ECX).
const CPUID_APIC: u32 = 1 << 9;
const CPUID_X2APIC: u32 = 1 << 21;

/// The local APIC, in the mode it is in.
#[derive(Clone, Copy, Debug)]
pub struct LocalApic {
    /// `None` in x2APIC mode.
    page: Option<Mmio>,
}

impl LocalApic {
    /// The local APIC as it is. `None` if there isn't any.
    pub fn current() -> Option<Self> {
        if cpuid(1, 0).edx & CPUID_APIC == 0 {
            return None;
        }
        let base = rdmsr(IA32_APIC_BASE);
        if base & APIC_BASE_ENABLE == 0 {
            return None;
        }
        // SAFETY: the page of the local APIC, mapped as all below 4 GiB; its registers can't write to memory.
        let page = unsafe { Mmio::new(base & APIC_BASE_ADDRESS, 0x1000) };
        Some(Self { page: (base & APIC_BASE_X2APIC == 0).then_some(page) })
    }

    /// The local APIC as it is, enabled in software, the interrupts of its own timer and pin masked.
    pub fn enable() -> Option<Self> {
        let this = Self::current()?;
        LAPIC_EOI.store(this.page.map_or(0, |page| page.base() + u64::from(EOI)), Ordering::Release);
        this.write(SPURIOUS, SPURIOUS_ENABLE | u32::from(SPURIOUS_VECTOR));
        this.write(LVT_TIMER, LVT_MASKED);
        this.write(LVT_LINT0, LVT_MASKED);
        Some(this)
    }

    /// The same in x2APIC mode, in which ids have 32 bits. A processor keeps that mode until it is reset, and all must
    /// use the same one. `None` if this processor doesn't have it.
    pub fn enable_x2apic() -> Option<Self> {
        if cpuid(1, 0).ecx & CPUID_X2APIC == 0 {
            return None;
        }
        let base = rdmsr(IA32_APIC_BASE);
        // SAFETY: changes only how the local APIC's registers are reached.
        unsafe { wrmsr(IA32_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC) };
        Self::enable()
    }

    /// Whether the registers are MSRs.
    pub fn is_x2apic(&self) -> bool {
        self.page.is_none()
    }

    /// The id of this processor.
    pub fn id(&self) -> u32 {
        if self.is_x2apic() { self.read(ID) } else { self.read(ID) >> 24 }
    }

    /// The version register's version.
    pub fn version(&self) -> u8 {
        self.read(VERSION) as u8
    }

    /// Lets the 8259's interrupts through to this processor.
    pub fn pass_pic(&self) {
        self.write(LVT_LINT0, LVT_EXTINT);
    }

    /// Sends an interrupt to a processor.
    pub fn send(&self, to: u32, vector: u8) {
        self.command(to, ICR_ASSERT | u32::from(vector));
    }

    /// Brings a processor into the state in which it waits for [`send_startup`](Self::send_startup).
    pub fn send_init(&self, to: u32) {
        self.command(to, ICR_ASSERT | ICR_INIT);
    }

    /// Starts a processor in real mode at a page below 1 MiB.
    pub fn send_startup(&self, to: u32, page: u64) {
        self.command(to, ICR_ASSERT | ICR_STARTUP | (page >> 12) as u32);
    }

    /// Starts the timer: one interrupt after `ticks`, or none but just the count.
    pub fn start_timer(&self, ticks: u32, vector: Option<u8>) {
        // Stopped first: KVM delivers what expired while masked when the mask goes.
        self.write(TIMER_INITIAL, 0);
        self.write(TIMER_DIVIDE, DIVIDE_BY_1);
        self.write(LVT_TIMER, vector.map_or(LVT_MASKED, u32::from));
        self.write(TIMER_INITIAL, ticks);
    }

    /// The ticks that are left until the timer expires.
    pub fn timer(&self) -> u32 {
        self.read(TIMER_CURRENT)
    }

    fn command(&self, to: u32, command: u32) {
        if let Some(page) = self.page {
            page.write(ICR_HIGH.into(), to << 24);
            page.write(ICR_LOW.into(), command);
            while page.read(ICR_LOW.into()) & ICR_PENDING != 0 {}
        } else {
            let value = u64::from(to) << 32 | u64::from(command);
            // SAFETY: an interrupt, INIT or start-up for another processor; those handlers and entries are ours.
            unsafe { wrmsr(X2APIC_MSRS + ICR_LOW / 16, value) };
        }
    }

    fn read(&self, register: u32) -> u32 {
        self.page.map_or_else(|| rdmsr(X2APIC_MSRS + register / 16) as u32, |page| page.read(register.into()))
    }

    fn write(&self, register: u32, value: u32) {
        match self.page {
            Some(page) => page.write(register.into(), value),
            // SAFETY: a register of the local APIC, none of which can write to memory.
            None => unsafe { wrmsr(X2APIC_MSRS + register / 16, value.into()) },
        }
    }
}
