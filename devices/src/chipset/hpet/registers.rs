//! Registers of the HPET (specification, section 2.3).

use bitfield_struct::bitfield;

/// GCAP_ID but for the number of timers: a period of 10^7 fs, vendor 8086h, legacy replacement, 64 bits, revision 1.
const CAPABILITIES: u64 = 0x0098_9680_8086_a001;
/// NUM_TIM_CAP in GCAP_ID: the number of the last timer.
const LAST_TIMER_SHIFT: u32 = 8;
/// Bits of GEN_CONF that exist.
pub const GEN_CONF_WRITABLE: u64 = 0b11;
/// Bits of a timer's configuration that a guest can change: type, enable, mode, value set, 32-bit mode, route.
const TIMER_CONF_WRITABLE: u32 = 0x3f4e;
/// Tn_FSB_EN_CNF, which it can change where there are messages.
const FSB_ENABLE: u32 = 1 << 14;

/// GCAP_ID of a block of so many timers (1 to 32).
#[must_use]
pub const fn capabilities(timers: u8) -> u64 {
    CAPABILITIES | (timers.saturating_sub(1) as u64 & 0x1f) << LAST_TIMER_SHIFT
}

/// Offsets of the registers.
pub mod offset {
    #![allow(missing_docs)]
    pub const CAPABILITIES: u64 = 0x000;
    pub const CONFIGURATION: u64 = 0x010;
    pub const STATUS: u64 = 0x020;
    pub const COUNTER: u64 = 0x0f0;
    pub const TIMER_0: u64 = 0x100;
    pub const TIMER_STRIDE: u64 = 0x20;
    pub const TIMER_CONF: u64 = 0x00;
    pub const TIMER_COMPARATOR: u64 = 0x08;
    pub const TIMER_FSB_ROUTE: u64 = 0x10;

    /// The timer that a register belongs to, if there are so many.
    #[must_use]
    pub fn timer(at: u64) -> Option<usize> {
        usize::try_from(at.checked_sub(TIMER_0)? / TIMER_STRIDE).ok()
    }
}

/// GEN_CONF.
#[bitfield(u64)]
pub struct GenConf {
    /// ENABLE_CNF: the counter counts and timers interrupt.
    pub enable: bool,
    /// LEG_RT_CNF.
    pub legacy_replacement: bool,
    #[bits(62)]
    reserved: u64,
}

/// TIMn_CONF.
#[bitfield(u64)]
#[derive(PartialEq)]
pub struct TimerConf {
    reserved: bool,
    /// Tn_INT_TYPE_CNF.
    pub level: bool,
    /// Tn_INT_ENB_CNF.
    pub interrupt_enable: bool,
    /// Tn_TYPE_CNF.
    pub periodic: bool,
    /// Tn_PER_INT_CAP.
    pub periodic_capable: bool,
    /// Tn_SIZE_CAP.
    pub size_64: bool,
    /// Tn_VAL_SET_CNF: the next write of the comparator sets it even though the timer is periodic.
    pub value_set: bool,
    reserved_7: bool,
    /// Tn_32MODE_CNF.
    pub mode_32: bool,
    /// Tn_INT_ROUTE_CNF.
    #[bits(5)]
    pub route: u8,
    /// Tn_FSB_EN_CNF.
    pub fsb_enable: bool,
    /// Tn_FSB_INT_DEL_CAP.
    pub fsb_capable: bool,
    reserved_16: u16,
    /// Tn_INT_ROUTE_CAP: a bit for each I/O APIC input.
    pub route_capable: u32,
}

impl TimerConf {
    /// After reset, of a timer that can be routed to the inputs of the mask `routes`, and send messages.
    #[must_use]
    pub fn reset(routes: u32, fsb_capable: bool) -> Self {
        Self::new()
            .with_periodic_capable(true)
            .with_size_64(true)
            .with_fsb_capable(fsb_capable)
            .with_route_capable(routes)
    }

    /// After a write of `value` to the low half. A route that the timer is not capable of is stored; nothing hears it.
    #[must_use]
    pub fn written(self, value: u32) -> Self {
        let writable = TIMER_CONF_WRITABLE | if self.fsb_capable() { FSB_ENABLE } else { 0 };
        let kept = self.into_bits() & !u64::from(writable);
        Self::from_bits(kept | u64::from(value & writable))
    }
}
