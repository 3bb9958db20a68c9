use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::base::msi::MsiSink;
use crate::base::{BusMaster, GuestRam, lock};

#[derive(Default)]
struct Apics(Mutex<Vec<Msi>>);

impl MsiSink for Apics {
    fn send(&self, message: Msi) -> Delivery {
        lock(&self.0).push(message);
        Delivery::Delivered
    }
}

struct Rig {
    apics: Arc<Apics>,
    config: PciConfig,
    msix: Msix,
}

const AT: u8 = 0x98;
const CONTROL: u8 = AT + 2;
const ENABLE: u32 = 0x8000;
const FUNCTION_MASK: u32 = 0x4000;

impl Rig {
    fn new(vectors: u16) -> Self {
        let apics = Arc::<Apics>::default();
        let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
        let gate = BusMaster::closed();
        let port = MessagePort::new(Arc::clone(&apics) as _, ram, gate.clone());
        let builder = PciConfigBuilder::new(0x1234, 0x5678, 0xff_0000).bus_master(gate);
        let (builder, msix) = Msix::add(builder, AT, (1, 7), vectors, port);
        let mut config = builder.build();
        config.write(0x04, 2, 1 << 2);
        Self { apics, config, msix }
    }

    fn control(&mut self, value: u32) {
        self.config.write(CONTROL, 2, value);
        self.msix.written(&self.config, CONTROL, 2);
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.msix.write(&self.config, offset, value);
    }

    fn notify(&mut self, vector: u16) -> Delivery {
        self.msix.notify(&self.config, vector)
    }

    fn take(&self) -> Vec<Msi> {
        std::mem::take(&mut *lock(&self.apics.0))
    }
}

/// The numbers QEMU 7.2 has in its virtio functions.
#[test]
fn the_capability_tells_where_table_and_pending_bits_are() {
    for (vectors, control, pending, len) in
        [(2, 0x0001_0011, 0x801, 0x1000), (201, 0x00c8_0011, 0xc91, 0x1000), (1000, 0x03e7_0011, 0x3e81, 0x4000)]
    {
        let mut rig = Rig::new(vectors);
        let words = [0, 4, 8].map(|at| rig.config.read_u32(AT + at));
        assert_eq!((words, rig.msix.region().len), ([control, 1, pending], len), "{vectors} vectors");
        rig.config.write(AT, 4, u32::MAX);
        rig.config.write(AT + 4, 4, u32::MAX);
        rig.config.write(AT + 8, 4, u32::MAX);
        let words = [0, 4, 8].map(|at| rig.config.read_u32(AT + at));
        assert_eq!(words, [control | 0xc000_0000, 1, pending], "{vectors} vectors, written");
    }
}

#[test]
fn a_vector_has_a_message_of_its_own_and_starts_masked() {
    let mut rig = Rig::new(3);
    assert_eq!([0, 4, 8, 12, 44].map(|at| rig.msix.read(at)), [0, 0, 0, 1, 1]);
    rig.write(16, 0xfee0_1003);
    rig.write(24, 0x4042);
    rig.write(28, 0xffff_fffe);
    assert_eq!([16, 20, 24, 28].map(|at| rig.msix.read(at)), [0xfee0_1000, 0, 0x4042, 0]);
    assert_eq!((rig.notify(1), rig.take()), (Delivery::Ignored, vec![]), "not enabled");
    rig.control(ENABLE);
    let message = Msi { address: 0xfee0_1000, data: 0x4042 };
    assert_eq!((rig.notify(1), rig.take()), (Delivery::Delivered, vec![message]));
    assert_eq!((rig.notify(3), rig.notify(0xffff), rig.take()), (Delivery::Ignored, Delivery::Ignored, vec![]));
}

#[test]
fn masked_vectors_are_pending_until_they_are_not() {
    let mut rig = Rig::new(40);
    rig.control(ENABLE);
    for vector in [1, 33] {
        rig.write(16 * vector, 0xfee0_0000);
        rig.write(16 * vector + 8, vector as u32);
    }
    assert_eq!((rig.notify(1), rig.notify(1), rig.notify(33)), {
        (Delivery::Delivered, Delivery::Coalesced, Delivery::Delivered)
    });
    assert_eq!((rig.msix.read(0x800), rig.msix.read(0x804), rig.take()), (2, 2, vec![]));
    // The pending bits are read-only.
    rig.write(0x800, 0);
    assert_eq!(rig.msix.read(0x800), 2);
    rig.write(16 + 12, 0);
    assert_eq!((rig.msix.read(0x800), rig.take()), (0, vec![Msi { address: 0xfee0_0000, data: 1 }]));
    // The mask of the function holds all back.
    rig.control(ENABLE | FUNCTION_MASK);
    rig.write(33 * 16 + 12, 0);
    rig.notify(1);
    assert_eq!((rig.msix.read(0x800), rig.msix.read(0x804), rig.take()), (2, 2, vec![]));
    rig.control(ENABLE);
    let sent: Vec<_> = rig.take().iter().map(|message| message.data).collect();
    assert_eq!((rig.msix.read(0x800), rig.msix.read(0x804), sent), (0, 0, vec![1, 33]));
}

#[test]
fn a_saved_table_is_one_of_this_function() {
    let mut rig = Rig::new(2);
    rig.write(0, 0xfee0_0000);
    let state = rig.msix.save();
    assert!(Rig::new(3).msix.check(&state).is_err());
    let mut other = Rig::new(2);
    other.msix.check(&state).unwrap();
    other.msix.load(state.clone());
    assert_eq!(other.msix.save(), state);
    let mut odd = state;
    odd.vectors[0].address |= 1;
    assert!(other.msix.check(&odd).is_err());
}

/// Addresses behind the table were used as places in it (CVE-2020-13754), and writes to the pending bits, which can't be
/// written, called a function that was not there (CVE-2015-7549).
#[test]
fn cve_2020_13754_and_cve_2015_7549_accesses_behind_the_table() {
    for vectors in [1, 2, 129, Msix::MOST_VECTORS] {
        let mut rig = Rig::new(vectors);
        rig.control(ENABLE);
        let table = u64::from(vectors) * 16;
        for offset in (table..rig.msix.region().len).step_by(4) {
            rig.write(offset, u32::MAX);
            assert_eq!(rig.msix.read(offset), 0, "{offset:#x} with {vectors} vectors");
        }
        for vector in 0..u64::from(vectors) {
            assert_eq!([0, 4, 8, 12].map(|word| rig.msix.read(16 * vector + word)), [0, 0, 0, 1], "vector {vector}");
        }
        assert_eq!(rig.take(), []);
    }
}
