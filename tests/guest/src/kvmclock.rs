//! KVM's paravirtual clock (Linux, `Documentation/virt/kvm/x86/msr.rst` and `cpuid.rst`).

use core::{
    cell::UnsafeCell,
    hint, ptr,
    sync::atomic::{Ordering, fence},
};

use crate::{
    cpu::{HYPERVISOR_LEAF, hypervisor},
    ring0::{cpuid, wrmsr},
    tsc,
};

/// How KVM signs itself in CPUID.
pub const SIGNATURE: [u8; 12] = *b"KVMKVMKVM\0\0\0";
/// The leaf with KVM's features, and the bits there for the clock: with the MSRs of the beginning, with those of today.
const FEATURES: u32 = HYPERVISOR_LEAF + 1;
const FEATURE_CLOCKSOURCE: u32 = 1 << 0;
const FEATURE_CLOCKSOURCE2: u32 = 1 << 3;

/// Wall clock, system time.
const MSRS: (u32, u32) = (0x4b56_4d00, 0x4b56_4d01);
const OLD_MSRS: (u32, u32) = (0x11, 0x12);
const SYSTEM_TIME_ENABLE: u64 = 1;

/// `struct pvclock_vcpu_time_info`: odd versions are being written.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
struct TimeInfo {
    version: u32,
    pad: u32,
    tsc_timestamp: u64,
    system_time: u64,
    tsc_to_system_mul: u32,
    tsc_shift: i8,
    flags: u8,
    pad2: [u8; 2],
}

/// `struct pvclock_wall_clock`: the time of day when system time was 0.
#[repr(C)]
#[derive(Clone, Copy)]
struct WallClock {
    version: u32,
    seconds: u32,
    nanoseconds: u32,
}

/// What the hypervisor writes to.
struct Shared<T>(UnsafeCell<T>);

// SAFETY: only read, whole and with care, while the hypervisor may write.
unsafe impl<T> Sync for Shared<T> {}

static TIME: Shared<TimeInfo> = Shared(UnsafeCell::new(TimeInfo {
    version: 0,
    pad: 0,
    tsc_timestamp: 0,
    system_time: 0,
    tsc_to_system_mul: 0,
    tsc_shift: 0,
    flags: 0,
    pad2: [0; 2],
}));
static WALL: Shared<WallClock> = Shared(UnsafeCell::new(WallClock { version: 0, seconds: 0, nanoseconds: 0 }));

impl<T: Copy> Shared<T> {
    fn address(&self) -> u64 {
        self.0.get().addr() as u64
    }

    /// A copy that the hypervisor did not write to meanwhile. `version` is the field that tells.
    fn read(&self, version: impl Fn(&T) -> u32) -> T {
        loop {
            // SAFETY: an object of ours; a torn copy is plain numbers, and thrown away.
            let copy = unsafe { ptr::read_volatile(self.0.get()) };
            fence(Ordering::Acquire);
            // SAFETY: the same.
            let again = unsafe { ptr::read_volatile(self.0.get()) };
            if version(&copy).is_multiple_of(2) && version(&copy) == version(&again) {
                return copy;
            }
            hint::spin_loop();
        }
    }
}

/// The clock of the processor that found it.
#[derive(Clone, Copy, Debug)]
pub struct KvmClock {
    wall_clock_msr: u32,
}

impl KvmClock {
    /// Turns the clock on, if there is one.
    pub fn find() -> Option<Self> {
        let features = hypervisor().filter(|name| *name == SIGNATURE).map(|_| cpuid(FEATURES, 0).eax)?;
        let (wall_clock_msr, system_time_msr) = match features {
            _ if features & FEATURE_CLOCKSOURCE2 != 0 => MSRS,
            _ if features & FEATURE_CLOCKSOURCE != 0 => OLD_MSRS,
            _ => return None,
        };
        // SAFETY: the hypervisor may write to `TIME`, which is made for that.
        unsafe { wrmsr(system_time_msr, TIME.address() | SYSTEM_TIME_ENABLE) };
        Some(Self { wall_clock_msr })
    }

    /// Nanoseconds, since about when the machine was made.
    pub fn now(&self) -> u64 {
        let info = TIME.read(|info| info.version);
        let ticks = tsc::now().wrapping_sub(info.tsc_timestamp);
        let shift = info.tsc_shift;
        let scaled = if shift < 0 { ticks >> -shift } else { ticks << shift };
        let nanoseconds = (u128::from(scaled) * u128::from(info.tsc_to_system_mul)) >> 32;
        info.system_time.wrapping_add(nanoseconds as u64)
    }

    /// The rate that the hypervisor says the TSC has.
    pub fn tsc_hz(&self) -> u64 {
        let info = TIME.read(|info| info.version);
        let hz = (1_000_000_000 << 32) / u64::from(info.tsc_to_system_mul.max(1));
        if info.tsc_shift < 0 { hz << -info.tsc_shift } else { hz >> info.tsc_shift }
    }

    /// The host's time of day, in seconds since 1970 (UTC).
    pub fn wall_clock(&self) -> u64 {
        // SAFETY: the hypervisor may write to `WALL`, which is made for that.
        unsafe { wrmsr(self.wall_clock_msr, WALL.address()) };
        let start = WALL.read(|clock| clock.version);
        let nanoseconds = u64::from(start.seconds) * 1_000_000_000 + u64::from(start.nanoseconds) + self.now();
        nanoseconds / 1_000_000_000
    }
}
