//! A board with the device under test, and what drives it.

use std::sync::{Arc, Mutex};

use devices::base::{
    Bus, BusMaster, Clock, Delivery, Device, Dma, GuestRam, IoDevice, IrqInput, IrqLine, IrqSink, ManualClock,
    Priority, Region, ResetKind, Shared, Space, State, SystemControl, SystemRequest, TimeSource, TimerClient,
    TimerQueue, lock, shared,
};
use devices::pci::{PciAddress, PciBus, PciFunction};
use serde_json::Value;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::op::{Change, Op, Tampering};

/// RAM of the rig in bytes.
pub const RAM: usize = 1 << 20;
/// Where windows in port space are put, one after the other.
const FIRST_PORT: u64 = 0x1000;
/// Where windows in memory are put.
const FIRST_ADDRESS: u64 = 0x1_0000_0000;
/// Deadlines that are seen on the way in one [`Op::Step`]; the rest of the time goes by at once, as it does on a host that
/// is busy.
const DEADLINES: u32 = 256;
/// The longest step: 2^44 ns are almost five hours.
const MAX_STEP: u64 = 1 << 44;

/// What the host does to a device.
pub type Input = dyn FnMut(&[u8]);

/// A board with one device.
pub struct Rig {
    make: fn(&mut Rig),
    /// Port space.
    pub ports: Arc<Bus>,
    /// Memory space.
    pub memory: Arc<Bus>,
    /// The PCI bus.
    pub pci: Arc<PciBus>,
    /// Guest RAM.
    pub ram: GuestRam,
    manual: Arc<ManualClock>,
    queue: TimerQueue,
    irqs: Arc<Listener>,
    device: Option<Arc<Mutex<dyn Device>>>,
    function: Option<PciAddress>,
    input: Option<Box<Input>>,
}

/// Takes interrupts and requests.
#[derive(Default)]
struct Listener;

impl IrqSink for Listener {
    fn set_level(&self, _pin: u32, _level: bool) -> Delivery {
        Delivery::Delivered
    }
}

impl SystemControl for Listener {
    fn request(&self, _request: SystemRequest) {}
}

impl Rig {
    /// A board with what `make` puts on it.
    ///
    /// # Panics
    /// The host has no memory left.
    #[must_use]
    pub fn new(make: fn(&mut Rig)) -> Self {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).expect("the host has some memory");
        Self::with_ram(make, Arc::new(ram))
    }

    fn with_ram(make: fn(&mut Rig), ram: GuestRam) -> Self {
        let (manual, clock) = ManualClock::new();
        let (ports, memory) = (Arc::new(Bus::new(Space::Port)), Arc::new(Bus::new(Space::Memory)));
        let irqs = Arc::new(Listener);
        let intx = std::array::from_fn(|pin| IrqInput::new(irqs.clone(), pin as u32));
        let mut rig = Self {
            make,
            pci: Arc::new(PciBus::new(Arc::clone(&ports), Arc::clone(&memory), intx)),
            ports,
            memory,
            ram,
            manual,
            queue: TimerQueue::new(clock),
            irqs,
            device: None,
            function: None,
            input: None,
        };
        make(&mut rig);
        rig
    }

    /// Guest time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.queue.clock().clone()
    }

    /// Deadlines.
    #[must_use]
    pub fn queue(&self) -> TimerQueue {
        self.queue.clone()
    }

    /// Where interrupts go.
    #[must_use]
    pub fn interrupts(&self) -> Arc<dyn IrqSink> {
        self.irqs.clone()
    }

    /// An interrupt.
    #[must_use]
    pub fn irq(&self) -> IrqLine {
        IrqInput::new(self.irqs.clone(), 0).line("under test")
    }

    /// The machine as a whole.
    #[must_use]
    pub fn system(&self) -> Arc<dyn SystemControl> {
        self.irqs.clone()
    }

    /// Bus-master access to the rig's RAM.
    #[must_use]
    pub fn dma(&self) -> Dma {
        Dma::new(Arc::clone(&self.ram), BusMaster::always())
    }

    /// Puts the device under test on the board.
    pub fn put<D: IoDevice + 'static>(&mut self, device: D, windows: &[Region]) -> Shared<D> {
        let device = shared(device);
        let (mut port, mut address) = (FIRST_PORT, FIRST_ADDRESS);
        for window in windows {
            let (bus, next) = match window.space {
                Space::Port => (&self.ports, &mut port),
                Space::Memory => (&self.memory, &mut address),
            };
            bus.map(*next, *window, Priority::Fixed, device.clone());
            // Some windows touch, so that accesses run from one into the next.
            *next += window.len;
        }
        self.device = Some(device.clone());
        device
    }

    /// As [`Self::put`], for a device with deadlines. `make` is given the timers.
    pub fn put_timed<D: IoDevice + TimerClient + 'static>(
        &mut self,
        windows: &[Region],
        make: impl FnOnce(&Self, devices::base::DeviceTimers) -> D,
    ) -> Shared<D> {
        let timers = self.queue.timers();
        let owner = timers.owner();
        let device = make(self, timers);
        let device = self.put(device, windows);
        self.queue.attach(owner, &device);
        device
    }

    /// Puts a device that is on the board onto the PCI bus as well.
    pub fn seat<F: PciFunction + 'static>(&mut self, function: &Shared<F>) {
        let place = PciAddress::slot(3);
        self.pci.insert(place, "under test", function.clone()).expect("the slot is free");
        self.function = Some(place);
    }

    /// Lets the host do something.
    pub fn on_input(&mut self, input: impl FnMut(&[u8]) + 'static) {
        self.input = Some(Box::new(input));
    }

    /// Lets all of it happen.
    ///
    /// # Panics
    /// The device does not keep its promises.
    pub fn run(mut self, ops: &[Op]) {
        for op in ops {
            self.perform(op);
        }
        let mut report = devices::base::Inspector::default();
        lock(self.device()).inspect(&mut report);
        self.migrate();
    }

    /// Loads a state of unknown origin and uses the device afterwards if it was accepted.
    ///
    /// # Panics
    /// A refused state changed the device.
    pub fn load(&mut self, state: &State) {
        let before = lock(self.device()).save();
        if lock(self.device()).load(state).is_err() {
            assert_eq!(lock(self.device()).save(), before, "a refused state must change nothing");
        }
        self.pci.remap();
    }

    fn device(&self) -> &Mutex<dyn Device> {
        self.device.as_deref().expect("the rig has a device")
    }

    fn perform(&mut self, op: &Op) {
        match op {
            Op::Read { window, offset, size } => {
                if let Some((bus, address)) = self.place(*window, *offset) {
                    bus.read(address, &mut [0; 8][..size.bytes()]);
                }
            }
            Op::Write { window, offset, size, value } => {
                if let Some((bus, address)) = self.place(*window, *offset) {
                    bus.write(address, &value.to_le_bytes()[..size.bytes()]);
                }
            }
            Op::Flood { window, offset, value, times } => {
                if let Some((bus, address)) = self.place(*window, *offset) {
                    for time in 0..*times & 0xfff {
                        bus.write(address, &[value.wrapping_add(time as u8)]);
                    }
                }
            }
            Op::ConfigRead { offset, size } => {
                if let (Some(function), Some((offset, size))) = (self.function, config_register(*offset, size.bytes()))
                {
                    let _ = self.pci.config_read(function, offset, size);
                }
            }
            Op::ConfigWrite { offset, size, value } => {
                if let (Some(function), Some((offset, size))) = (self.function, config_register(*offset, size.bytes()))
                {
                    self.pci.config_write(function, offset, size, *value);
                }
            }
            Op::Memory { address, data } => {
                // Only what is inside changes.
                let _ = self.ram.write(data, GuestAddress(u64::from(*address) % RAM as u64));
            }
            Op::Step { mantissa, exponent } => self.step(u64::from(*mantissa) << (exponent & 31)),
            Op::Input(data) => {
                if let Some(input) = &mut self.input {
                    input(data);
                }
            }
            Op::Reset { power_on } => {
                lock(self.device()).reset(if *power_on { ResetKind::PowerOn } else { ResetKind::System });
                self.pci.remap();
            }
            Op::Migrate => self.migrate(),
            Op::Tamper(tampering) => {
                let mut state = lock(self.device()).save();
                tamper(&mut state.data, tampering);
                self.load(&state);
            }
        }
    }

    /// An address in one of the windows that are there now.
    fn place(&self, window: u8, offset: u32) -> Option<(&Bus, u64)> {
        let (ports, memory) = (self.ports.ranges(), self.memory.ranges());
        let windows =
            ports.iter().map(|range| (&self.ports, range)).chain(memory.iter().map(|range| (&self.memory, range)));
        let (bus, (first, last, _)) = windows.cycle().nth(usize::from(window) % (ports.len() + memory.len()).max(1))?;
        let len = (last - first).saturating_add(1 + 4);
        Some((bus, first.saturating_add(u64::from(offset) % len)))
    }

    fn step(&mut self, ns: u64) {
        let target = self.manual.now().saturating_add(ns.min(MAX_STEP));
        for _ in 0..DEADLINES {
            match self.queue.next_deadline() {
                Some(deadline) if deadline <= target => {
                    self.manual.set(deadline);
                    self.queue.run_due();
                }
                _ => break,
            }
        }
        self.manual.set(target);
        self.queue.run_due();
    }

    /// Goes on with a new device that has loaded the state of the old one.
    fn migrate(&mut self) {
        let saved = lock(self.device()).save();
        let twin = Self::with_ram(self.make, Arc::clone(&self.ram));
        twin.manual.set(self.manual.now());
        let loaded = lock(twin.device()).load(&saved);
        assert!(loaded.is_ok(), "a saved state must load: {loaded:?}: {saved:?}");
        assert_eq!(lock(twin.device()).save(), saved, "save -> load -> save must be identical");
        twin.pci.remap();
        *self = twin;
    }
}

/// What the configuration mechanism makes of an access: registers are four bytes and an access does not leave one.
fn config_register(offset: u8, size: usize) -> Option<(u8, u8)> {
    let size = size.min(4) as u8;
    (size != 3 && offset % 4 + size <= 4).then_some((offset, size))
}

/// Changes one value of a state.
fn tamper(data: &mut Value, tampering: &Tampering) {
    let places = count(data);
    let mut left = usize::from(tampering.place) % places;
    if let Some(value) = nth(data, &mut left) {
        change(value, &tampering.change);
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|value| nth(value, left)),
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, left)),
        _ => None,
    }
}

fn change(value: &mut Value, change: &Change) {
    *value = match (change, value.take()) {
        (Change::Number(number), _) => (*number).into(),
        (Change::Top(less), _) => (u64::MAX - u64::from(*less)).into(),
        (Change::Flip, Value::Bool(old)) => (!old).into(),
        (Change::Flip | Change::Null, _) => Value::Null,
        (Change::Text(text), _) => text.clone().into(),
        (Change::List(list), _) => list.clone().into(),
        (Change::Resize(longer), Value::Array(mut list)) => {
            if *longer {
                list.push(list.last().cloned().unwrap_or(0.into()));
            } else {
                list.pop();
            }
            list.into()
        }
        (Change::Gone, Value::Object(mut map)) => {
            let key = map.keys().next().cloned();
            key.and_then(|key| map.remove(&key));
            map.into()
        }
        (Change::Resize(_) | Change::Gone, old) => old,
    };
}
