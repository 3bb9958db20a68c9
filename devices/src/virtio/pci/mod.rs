//! The PCI function of a virtio device, as QEMU 7.2 makes it on a conventional bus (virtio 1.2, section 4.1).
//!
//! BAR 0 (ports) is the legacy interface, BAR 1 the MSI-X table, BAR 4 holds the structures of virtio 1, which capabilities
//! point at; the capability for access to BARs through configuration space is there too. Emulated: feature negotiation,
//! split and packed queues, queue reset, all interrupts. The driver is told of a broken queue by DEVICE_NEEDS_RESET.
//!
//! Not emulated: IOMMUs (ACCESS_PLATFORM), notification data, shared memory regions, administration queues.

mod doorbell;
mod layout;
mod legacy;
mod modern;
mod registers;
mod state;
mod window;

pub use doorbell::{Doorbell, DoorbellWatch, QueueClient};

use std::sync::Arc;

use self::registers::{isr, status};
use super::driver::Driver;
use super::ring::{NO_VECTOR, Queue};
use super::{VirtioDevice, VirtioStorage, feature};
use crate::backend::disk::DiskClient;
use crate::base::{BusMaster, Dma, GuestRam, Inspector, IoDevice, IrqLine, ResetKind, State, StateError};
use crate::pci::{MessagePort, Msix, PciConfig, PciFunction};

/// What queues can do, besides what every queue can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Tables of descriptors.
    pub indirect_desc: bool,
    /// Being told at a place in the ring.
    pub event_idx: bool,
    /// Any split into descriptors, offered to legacy drivers.
    pub any_layout: bool,
    /// An interrupt when the driver has no buffers left, offered to legacy drivers.
    pub notify_on_empty: bool,
    /// The packed format.
    pub packed: bool,
    /// A reset of one queue.
    pub queue_reset: bool,
}

/// QEMU's.
impl Default for RingOptions {
    fn default() -> Self {
        Self {
            indirect_desc: true,
            event_idx: true,
            any_layout: true,
            notify_on_empty: true,
            packed: false,
            queue_reset: true,
        }
    }
}

/// What a function is like. At least one of the two interfaces is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciOptions {
    /// The interface of drivers before virtio 1.
    pub legacy: bool,
    /// The interface of virtio 1.
    pub modern: bool,
    /// MSI-X vectors; 0: it has no MSI-X.
    pub vectors: u16,
    /// Each queue's doorbell has a page of its own.
    pub page_per_vq: bool,
    /// Its queues.
    pub rings: RingOptions,
}

/// What a function is connected to.
pub struct Wiring {
    /// The guest's RAM.
    pub ram: GuestRam,
    /// The gate that its Bus Master Enable controls.
    pub gate: BusMaster,
    /// The wire of INTA#.
    pub intx: IrqLine,
    /// Where its messages go.
    pub messages: MessagePort,
    /// Who wants to know where its doorbells are.
    pub watch: Option<Arc<dyn DoorbellWatch>>,
}

/// The function.
pub struct VirtioPci<D> {
    device: D,
    driver: Driver,
    config: PciConfig,
    msix: Option<Msix>,
    options: PciOptions,
    /// All features that any driver is offered.
    offered: u64,
    /// What the driver has written.
    accepted: u64,
    device_feature_select: u32,
    driver_feature_select: u32,
    status: u8,
    isr: u8,
    generation: u8,
    config_vector: u16,
    queue_select: u16,
    watch: Option<Arc<dyn DoorbellWatch>>,
    /// The doorbells that `watch` knows.
    rung: Vec<Doorbell>,
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// A function with this device, after power-on.
    #[must_use]
    pub fn new(device: D, options: PciOptions, wiring: Wiring) -> Self {
        let Wiring { ram, gate, intx, messages, watch } = wiring;
        let kind = device.kind();
        let (config, msix) = layout::build(&kind, &options, device.config().len(), gate.clone(), intx, messages);
        let offered = offer(&device, &options);
        let driver = Driver::new(kind.name, Dma::new(ram, gate), &device.queue_sizes());
        Self {
            device,
            driver,
            config,
            msix,
            options,
            offered,
            accepted: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            status: 0,
            isr: 0,
            generation: 0,
            config_vector: NO_VECTOR,
            queue_select: 0,
            watch,
            rung: Vec::new(),
        }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Something from outside for the device, of which the driver may have to be told.
    pub fn with_device<R>(&mut self, what: impl FnOnce(&mut D, &mut Driver) -> R) -> R {
        let result = what(&mut self.device, &mut self.driver);
        self.settle();
        result
    }

    fn notified(&mut self, queue: u16) {
        if self.driver.is_live(queue) {
            self.device.queue_notified(queue, &mut self.driver);
            self.settle();
        }
    }

    fn selected(&self) -> Option<&Queue> {
        self.driver.queues.get(usize::from(self.queue_select))
    }

    fn selected_mut(&mut self) -> Option<&mut Queue> {
        self.driver.queues.get_mut(usize::from(self.queue_select))
    }

    /// The vector that a driver's write chooses; it can read back that there is no such one.
    fn vector(&self, value: u32) -> u16 {
        let vectors = self.msix.as_ref().map_or(0, Msix::vectors);
        if value < u32::from(vectors) { value as u16 } else { NO_VECTOR }
    }

    fn msix_enabled(&self) -> bool {
        self.msix.as_ref().is_some_and(|msix| msix.is_enabled(&self.config))
    }

    /// The driver accepts features. Once it has said that these are all, or a queue depends on them, they stay.
    fn accept(&mut self, features: u64) {
        if self.status & status::FEATURES_OK == 0 && !self.driver.queues.iter().any(Queue::is_enabled) {
            self.accepted = features;
            self.follow_status();
        }
    }

    /// Makes what the device sees of the driver follow the registers.
    fn follow_status(&mut self) {
        self.driver.features = self.accepted & self.offered;
        // Old drivers use queues before they say that they are ready, and QEMU goes along.
        self.driver.ready = self.status & status::DRIVER_OK != 0 || !self.driver.is_modern();
        self.follow_doorbells();
    }

    fn set_status(&mut self, value: u8) {
        let started = value & !self.status & status::DRIVER_OK != 0;
        self.status = value & !status::NEEDS_RESET | self.status & status::NEEDS_RESET;
        self.follow_status();
        if started {
            self.device.started(&mut self.driver);
            self.ring_all();
        }
        self.settle();
    }

    /// Resets all but configuration space and the table of vectors; `kind`: of whose reset it is a part, none if the driver's.
    fn reset_virtio(&mut self, kind: Option<ResetKind>) {
        self.device.reset(kind);
        self.driver.reset();
        self.accepted = 0;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.status = 0;
        self.isr = 0;
        // It goes on, so that a driver can tell old from new.
        if kind.is_some() {
            self.generation = 0;
        }
        self.config_vector = NO_VECTOR;
        self.queue_select = 0;
        if let Some(msix) = &mut self.msix {
            (0..msix.vectors()).for_each(|vector| msix.forget(vector));
        }
        self.follow_status();
        self.drive_pin();
    }

    /// Reads the device's configuration structure.
    fn read_config(&self, offset: u64, size: u8) -> u32 {
        let config = self.device.config();
        let bytes = usize::try_from(offset).ok().and_then(|at| config.get(at..)?.get(..usize::from(size)));
        let Some(bytes) = bytes else { return u32::MAX };
        let mut value = [0; 4];
        value[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(value)
    }

    fn write_config(&mut self, offset: u64, size: u8, value: u32) {
        let len = self.device.config().len();
        let at = usize::try_from(offset).unwrap_or(len);
        if at.saturating_add(usize::from(size)) <= len {
            self.device.config_written(at, &value.to_le_bytes()[..usize::from(size)], &mut self.driver);
            self.settle();
        }
    }

    /// Reads the ISR status, which clears it.
    fn take_isr(&mut self) -> u8 {
        let isr = std::mem::take(&mut self.isr);
        self.drive_pin();
        isr
    }

    fn drive_pin(&mut self) {
        let level = self.isr != 0 && !self.msix_enabled();
        self.config.set_interrupt(level);
    }

    /// Tells the driver what the device has done.
    fn settle(&mut self) {
        let news = self.driver.publish();
        if self.driver.failed && self.driver.is_modern() {
            self.status |= status::NEEDS_RESET;
        }
        for queue in news.queues {
            let vector = self.driver.queues.get(usize::from(queue)).map_or(NO_VECTOR, |queue| queue.vector);
            self.interrupt(isr::QUEUE, vector);
        }
        // Before it is ready it reads the configuration anyway.
        if news.configuration && self.status & status::DRIVER_OK != 0 {
            self.generation = self.generation.wrapping_add(1);
            self.interrupt(isr::CONFIGURATION, self.config_vector);
        }
    }

    fn interrupt(&mut self, cause: u8, vector: u16) {
        self.isr |= cause;
        match &mut self.msix {
            Some(msix) if msix.is_enabled(&self.config) => {
                msix.notify(&self.config, vector);
            }
            _ => self.drive_pin(),
        }
    }
}

/// All features that a device offers to any driver.
fn offer<D: VirtioDevice>(device: &D, options: &PciOptions) -> u64 {
    let RingOptions { indirect_desc, event_idx, any_layout, notify_on_empty, packed, queue_reset } = options.rings;
    let modern = options.modern;
    let all = [
        (feature::INDIRECT_DESC, indirect_desc),
        (feature::EVENT_IDX, event_idx),
        (feature::VERSION_1, modern),
        (feature::RING_PACKED, modern && packed),
        (feature::RING_RESET, modern && queue_reset),
        (feature::ANY_LAYOUT, any_layout),
        (feature::NOTIFY_ON_EMPTY, notify_on_empty),
        (feature::BAD_FEATURE, true),
    ];
    let rings = all.iter().filter(|(_, on)| *on).fold(0, |features, (feature, _)| features | feature);
    rings | device.features() | device.legacy_features()
}

impl<D: VirtioDevice> IoDevice for VirtioPci<D> {
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64 {
        match region {
            layout::LEGACY => self.read_legacy(offset, size).into(),
            layout::MSIX => self.msix.as_ref().map_or(0, |msix| msix.read(offset)).into(),
            _ => self.read_modern(offset, size).into(),
        }
    }

    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64) {
        let value = value as u32;
        match region {
            layout::LEGACY => self.write_legacy(offset, size, value),
            layout::MSIX => {
                if let Some(msix) = &mut self.msix {
                    msix.write(&self.config, offset, value);
                }
            }
            _ => self.write_modern(offset, size, value),
        }
    }
}

impl<D: VirtioDevice> PciFunction for VirtioPci<D> {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn config_wanted(&mut self, offset: u8, len: u8) {
        self.read_window(offset, len);
    }

    fn config_written(&mut self, offset: u8, len: u8) {
        self.write_window(offset, len);
        // As QEMU does: the device stops, and the driver can see it.
        if !self.driver.dma().is_enabled() && self.status & status::DRIVER_OK != 0 {
            self.status &= !status::DRIVER_OK;
            self.follow_status();
        }
        if let Some(msix) = &mut self.msix {
            msix.written(&self.config, offset, len);
        }
        self.drive_pin();
        self.follow_doorbells();
    }
}

impl<D: VirtioStorage> DiskClient for VirtioPci<D> {
    fn requests_completed(&mut self) {
        self.with_device(VirtioStorage::requests_completed);
    }

    fn resume_requests(&mut self) {
        self.with_device(VirtioStorage::resume_requests);
        if self.watch.is_some() {
            // The state may be one of a moment when the driver did not need to tell.
            self.listen();
        }
    }

    fn medium_resized(&mut self) {
        self.with_device(VirtioStorage::medium_resized);
    }

    fn drain_requests(&mut self) {
        if self.watch.is_some() {
            // The loop may not have heard the last doorbell yet. Once it does, it finds nothing.
            self.listen();
        }
        self.with_device(VirtioStorage::drain_requests);
    }
}

impl<D: VirtioDevice> crate::base::Device for VirtioPci<D> {
    fn name(&self) -> &'static str {
        self.device.kind().name
    }

    fn reset(&mut self, kind: ResetKind) {
        self.config.reset();
        if let Some(msix) = &mut self.msix {
            msix.reset();
        }
        self.reset_virtio(Some(kind));
    }

    fn save(&self) -> State {
        self.save_state()
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        self.load_state(state)
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("device_status", self.status, 8);
        out.register("driver_feature", self.driver.features, 64);
        out.register("isr", self.isr, 8);
        out.flag("failed", self.driver.failed);
        for (number, queue) in self.driver.queues.iter().enumerate().filter(|(_, queue)| queue.is_enabled()) {
            out.number(format!("queue {number} size"), queue.area.size);
            out.number(format!("queue {number} chains under way"), queue.in_use());
        }
        self.device.inspect(out);
    }
}
