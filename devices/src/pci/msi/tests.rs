use std::sync::Mutex;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::base::lock;

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
    ram: GuestRam,
    config: PciConfig,
    msi: MsiCapability,
}

/// Offset of the capability.
const AT: u8 = 0x50;
const COMMAND: u8 = 0x04;
const MASTER: u32 = 1 << 2;

impl Rig {
    fn new(vectors: u8, address_64: bool, maskable: bool) -> Self {
        let apics = Arc::<Apics>::default();
        let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
        let gate = BusMaster::closed();
        let port = MessagePort::new(Arc::clone(&apics) as _, Arc::clone(&ram), gate.clone());
        let builder = PciConfigBuilder::new(0x1234, 0x5678, 0xff_0000).bus_master(gate);
        let (builder, msi) = MsiCapability::add(builder, AT, MsiOptions { vectors, address_64, maskable }, port);
        let mut config = builder.build();
        config.write(COMMAND, 2, MASTER);
        Self { apics, ram, config, msi }
    }

    fn write(&mut self, offset: u8, size: u8, value: u32) {
        self.config.write(AT + offset, size, value);
        self.msi.written(&mut self.config, AT + offset, size);
    }

    fn read(&self, offset: u8) -> u32 {
        self.config.read_u32(AT + offset)
    }

    fn notify(&mut self, vector: u8) -> Delivery {
        self.msi.notify(&mut self.config, vector)
    }

    fn take(&self) -> Vec<Msi> {
        std::mem::take(&mut *lock(&self.apics.0))
    }
}

/// Message Control, and all registers with ones written to them, in the four formats (PCI 3.0, figure 6-9).
#[test]
fn registers_are_where_the_format_has_them() {
    for (vectors, address_64, maskable, control, ones) in [
        (1, false, false, 0x0000, vec![0x0071_0005, 0xffff_fffc, 0x0000_ffff]),
        (4, true, false, 0x0084, vec![0x00f5_0005, 0xffff_fffc, 0xffff_ffff, 0x0000_ffff]),
        (8, false, true, 0x0106, vec![0x0177_0005, 0xffff_fffc, 0x0000_ffff, 0x0000_00ff, 0]),
        (32, true, true, 0x018a, vec![0x01fb_0005, 0xffff_fffc, 0xffff_ffff, 0x0000_ffff, 0xffff_ffff, 0]),
    ] {
        let mut rig = Rig::new(vectors, address_64, maskable);
        assert_eq!(rig.read(0), control << 16 | 0x05, "{vectors} vectors");
        assert_eq!(rig.config.read_u8(0x34), AT);
        for (offset, value) in (0..).step_by(4).zip(ones) {
            // The last word of a format may have two bytes only.
            rig.config.write(AT + offset, 4, u32::MAX);
            let seen = if offset + 4 > rig.msi.len() { rig.read(offset) & 0xffff } else { rig.read(offset) };
            assert_eq!(seen, value, "{vectors} vectors, {offset:#x}");
        }
    }
}

#[test]
fn a_message_goes_where_it_says() {
    let mut rig = Rig::new(1, true, false);
    rig.write(4, 4, 0xfee0_1000);
    rig.write(12, 2, 0x4042);
    assert_eq!((rig.notify(0), rig.take()), (Delivery::Ignored, vec![]), "not enabled");
    rig.write(2, 2, 1);
    assert_eq!((rig.notify(0), rig.take()), (Delivery::Delivered, vec![Msi { address: 0xfee0_1000, data: 0x4042 }]));
    // To RAM it is a store.
    rig.write(4, 4, 0x0000_0ffc);
    assert_eq!((rig.notify(0), rig.take()), (Delivery::Delivered, vec![]));
    assert_eq!(rig.ram.read_obj::<u32>(GuestAddress(0xffc)).unwrap(), 0x4042);
    // 64 bits of address: neither the local APICs nor RAM.
    rig.write(8, 4, 1);
    assert_eq!(rig.notify(0), Delivery::Ignored);
    rig.write(4, 4, 0xfee0_1000);
    assert_eq!((rig.notify(0), rig.take()), (Delivery::Ignored, vec![]));
    // Without Bus Master Enable nothing leaves.
    rig.write(8, 4, 0);
    rig.config.write(COMMAND, 2, 0);
    assert_eq!((rig.notify(0), rig.take()), (Delivery::Ignored, vec![]));
}

#[test]
fn vectors_change_the_low_bits_as_far_as_granted() {
    let mut rig = Rig::new(4, false, false);
    rig.write(4, 4, 0xfee0_0000);
    rig.write(8, 2, 0x47);
    let mut data = |granted: u32| {
        rig.write(2, 2, granted << 4 | 1);
        for vector in 0..4 {
            rig.notify(vector);
        }
        (rig.read(0) >> 20 & 7, Vec::from_iter(rig.take().into_iter().map(|message| message.data)))
    };
    assert_eq!(data(0), (0, vec![0x47; 4]));
    assert_eq!(data(1), (1, vec![0x46, 0x47, 0x46, 0x46]));
    assert_eq!(data(2), (2, vec![0x44, 0x45, 0x46, 0x47]));
    // No more than it has.
    assert_eq!(data(5), (2, vec![0x44, 0x45, 0x46, 0x47]));
    assert_eq!(data(7), (2, vec![0x44, 0x45, 0x46, 0x47]));
}

#[test]
fn a_masked_vector_is_pending_until_it_is_unmasked() {
    let mut rig = Rig::new(4, true, true);
    rig.write(4, 4, 0xfee0_0000);
    rig.write(12, 2, 0x40);
    rig.write(2, 2, 2 << 4 | 1);
    rig.write(16, 4, 0b0110);
    assert_eq!(
        (rig.notify(1), rig.notify(1), rig.notify(2)),
        (Delivery::Delivered, Delivery::Coalesced, Delivery::Delivered)
    );
    rig.notify(3);
    assert_eq!((rig.take().len(), rig.read(20)), (1, 0b0110));
    rig.write(16, 4, 0b0100);
    assert_eq!((rig.take(), rig.read(20)), (vec![Msi { address: 0xfee0_0000, data: 0x41 }], 0b0100));
    // With vector 2 no longer granted, it is forgotten.
    rig.write(2, 2, 1 << 4 | 1);
    rig.write(16, 4, 0);
    assert_eq!((rig.take(), rig.read(20)), (vec![], 0));
}

#[test]
fn a_saved_state_has_no_other_registers() {
    let mut rig = Rig::new(2, true, true);
    rig.write(2, 2, 1 << 4 | 1);
    rig.write(16, 4, 3);
    rig.notify(1);
    let good = rig.config.save();
    rig.config.check(&good).unwrap();
    for (offset, value) in [(0, 0x06), (2, 0x03), (20, 0x04), (23, 0x80), (16, 0x04)] {
        let mut other = Rig::new(2, true, true);
        other.config.load(&good).unwrap();
        other.config.put(AT + offset, &[value]);
        assert!(rig.config.check(&other.config.save()).is_err(), "{offset:#x}");
    }
}
