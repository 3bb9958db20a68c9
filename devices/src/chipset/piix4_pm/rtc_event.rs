//! The real-time clock's event among the power management function's (ACPI 4.0, sections 4.7.2.4 and 4.7.3.1): RTC_STS, which
//! an alarm sets, and what RTC_EN makes of it.
//!
//! The alarm comes while the clock is locked, which must not call the function. So the event is a leaf with a lock of its own,
//! like the [general purpose events](crate::chipset::gpe); its bits appear in the function's registers.

use std::sync::{Arc, Mutex};

use crate::base::{Delivery, IrqLine, IrqSink, lock};

/// The event. Its input takes the alarm: the assertion is what counts.
pub struct RtcEvent {
    inner: Mutex<Inner>,
}

struct Inner {
    status: bool,
    enable: bool,
    sci_enable: bool,
    sci: IrqLine,
}

impl Inner {
    fn settle(&self) {
        self.sci.set(self.sci_enable && self.status && self.enable);
    }
}

impl RtcEvent {
    /// The event in its reset state. `sci` is its own line to the system control interrupt.
    #[must_use]
    pub fn new(sci: IrqLine) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { status: false, enable: false, sci_enable: true, sci }) })
    }

    /// Whether there was an alarm that is to interrupt the guest, or to wake it (RTC_STS and RTC_EN).
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let inner = lock(&self.inner);
        inner.status && inner.enable
    }

    /// RTC_STS.
    pub(super) fn status(&self) -> bool {
        lock(&self.inner).status
    }

    pub(super) fn set_status(&self, status: bool) {
        let mut inner = lock(&self.inner);
        inner.status = status;
        inner.settle();
    }

    /// RTC_EN and SCI_EN.
    pub(super) fn enable(&self, enable: bool, sci_enable: bool) {
        let mut inner = lock(&self.inner);
        (inner.enable, inner.sci_enable) = (enable, sci_enable);
        inner.settle();
    }

    /// Whether the event asserts the SCI.
    pub(super) fn asserted(&self) -> bool {
        lock(&self.inner).sci.level()
    }
}

impl IrqSink for RtcEvent {
    fn set_level(&self, _pin: u32, level: bool) -> Delivery {
        if level {
            self.set_status(true);
        }
        Delivery::Delivered
    }
}
