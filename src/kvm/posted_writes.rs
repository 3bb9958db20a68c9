//! Writes to ports that KVM keeps, instead of leaving the guest for each (KVM_REGISTER_COALESCED_MMIO, for ports from Linux 4.20 on).
//!
//! They wait in a ring that all vCPUs of a VM share, and are carried out when a vCPU next comes out of the guest, before whatever it
//! comes out for. So devices see all accesses in the order in which the guest makes them. This suits registers a write to which
//! has no effect that anybody could notice without another access.

use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use devices::base::{Bus, lock};
use kvm_bindings::{KVM_COALESCED_MMIO_PAGE_OFFSET, kvm_coalesced_mmio, kvm_coalesced_mmio_ring};
use kvm_ioctls::{Cap, IoEventAddress, VmFd};

use super::run_page::RunPage;

const PAGE: usize = 4096;
/// Entries that a page has room for.
const ENTRIES: u32 = ((PAGE - size_of::<kvm_coalesced_mmio_ring>()) / size_of::<kvm_coalesced_mmio>()) as u32;

/// The writes that a VM keeps.
pub struct PostedWrites {
    vm: Arc<VmFd>,
    /// There may be some.
    used: AtomicBool,
    /// Held by the vCPU that carries them out.
    turn: Mutex<()>,
}

impl PostedWrites {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self { vm, used: AtomicBool::new(false), turn: Mutex::default() }
    }

    /// Has writes to these ports kept from now on.
    ///
    /// # Errors
    /// The kernel does not offer it.
    pub fn keep(&self, ports: Range<u16>) -> io::Result<()> {
        // The vCPU's pages, as they are mapped, end with that of the ring.
        let has_page = self.vm.check_extension_int(Cap::CoalescedMmio) == KVM_COALESCED_MMIO_PAGE_OFFSET as i32;
        if !has_page || !self.vm.check_extension(Cap::CoalescedPio) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Before the first one is.
        self.used.store(true, Ordering::SeqCst);
        let kept = self.vm.register_coalesced_mmio(IoEventAddress::Pio(ports.start.into()), ports.len() as u32);
        kept.map_err(|errno| io::Error::from_raw_os_error(errno.errno()))
    }

    /// Has no more writes to these ports kept. Those that were are still carried out.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn hear(&self, ports: Range<u16>) -> io::Result<()> {
        let heard = self.vm.unregister_coalesced_mmio(IoEventAddress::Pio(ports.start.into()), ports.len() as u32);
        heard.map_err(|errno| io::Error::from_raw_os_error(errno.errno()))
    }

    /// Carries out what was kept. On the thread of the vCPU whose page this is, when it has come out of the guest.
    pub fn carry_out(&self, page: RunPage, ports: &Bus) {
        if !self.used.load(Ordering::Acquire) {
            return;
        }
        let ring = Ring(page.at(KVM_COALESCED_MMIO_PAGE_OFFSET as usize * PAGE).cast());
        if !ring.is_empty() {
            // Another vCPU's access comes after all of them.
            let _turn = lock(&self.turn);
            ring.take(|port, data| ports.write(port, data));
        }
    }
}

/// The ring: the kernel adds entries, and natoma takes them.
#[derive(Clone, Copy)]
struct Ring(*mut kvm_coalesced_mmio_ring);

impl Ring {
    fn first(&self) -> &AtomicU32 {
        // SAFETY: whoever makes a ring answers for the page, and the field lies within it.
        let field = unsafe { &raw mut (*self.0).first };
        // SAFETY: both sides access it atomically.
        unsafe { AtomicU32::from_ptr(field) }
    }

    fn last(&self) -> &AtomicU32 {
        // SAFETY: as above.
        let field = unsafe { &raw mut (*self.0).last };
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(field) }
    }

    fn is_empty(self) -> bool {
        self.first().load(Ordering::Acquire) == self.last().load(Ordering::Acquire)
    }

    /// Takes all entries, one after the other. Nobody else may take any meanwhile. They are there until they have been seen to, so
    /// that who finds the ring empty comes after all that were in it.
    fn take(self, mut each: impl FnMut(u64, &[u8])) {
        loop {
            let first = self.first().load(Ordering::Relaxed);
            if first >= ENTRIES || first == self.last().load(Ordering::Acquire) {
                return;
            }
            // SAFETY: as above; the entries come behind the two indices.
            let entries: *const kvm_coalesced_mmio = unsafe { &raw const (*self.0).coalesced_mmio }.cast();
            // SAFETY: there are so many of them.
            let entry = unsafe { entries.add(first as usize) };
            // SAFETY: plain bytes, which the kernel does not change before it is told that they were taken.
            let kvm_coalesced_mmio { phys_addr, len, data, .. } = unsafe { entry.read() };
            each(phys_addr, &data[..data.len().min(len as usize)]);
            self.first().store((first + 1) % ENTRIES, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use devices::base::{
        AccessRule, Device, Inspector, IoDevice, Priority, Region, ResetKind, Space, State, StateError, shared,
    };
    use kvm_bindings::kvm_regs;
    use kvm_ioctls::{Kvm, VcpuExit};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::kvm::memory::{MemorySlots, Slot};

    /// The kernel's side, as api.rst and the header have it.
    struct Page(Box<[u64; PAGE / 8]>);

    impl Page {
        fn post(&mut self, port: u64, data: &[u8]) {
            let last = (self.0[0] >> 32) as usize;
            let entry = &mut self.0[1 + 3 * last..][..3];
            let mut bytes = [0; 8];
            bytes[..data.len()].copy_from_slice(data);
            entry.copy_from_slice(&[port, 1 << 32 | data.len() as u64, u64::from_le_bytes(bytes)]);
            self.0[0] = self.0[0] & 0xffff_ffff | ((last as u64 + 1) % 170) << 32;
        }

        fn ring(&mut self) -> Ring {
            Ring(self.0.as_mut_ptr().cast())
        }
    }

    #[test]
    fn writes_are_taken_in_their_order_all_around_the_ring() {
        let mut page = Page(Box::new([0; PAGE / 8]));
        assert!(page.ring().is_empty());
        let mut number = 0_u32;
        for count in [1, 169, 0, 100, 169] {
            let expected: Vec<_> = (number..number + count).collect();
            for value in &expected {
                page.post(0x1f2, &value.to_le_bytes());
            }
            number += count;
            let ring = page.ring();
            assert_eq!(ring.is_empty(), count == 0);
            let mut found = Vec::new();
            ring.take(|port, data| {
                assert_eq!(port, 0x1f2);
                assert!(!ring.is_empty(), "it is there until it has been seen to");
                found.push(u32::from_le_bytes(data.try_into().unwrap()));
            });
            assert_eq!(found, expected);
            assert!(ring.is_empty());
        }
    }

    #[test]
    fn lengths_are_those_of_the_accesses() {
        let mut page = Page(Box::new([0; PAGE / 8]));
        page.post(0x1f2, &[1]);
        page.post(0x172, &[2, 3]);
        let mut found = Vec::new();
        page.ring().take(|port, data| found.push((port, data.to_vec())));
        assert_eq!(found, [(0x1f2, vec![1]), (0x172, vec![2, 3])]);
    }

    /// Notes what is written: offset and value.
    #[derive(Default)]
    struct Notes(Vec<(u64, u64)>);

    impl Device for Notes {
        fn name(&self) -> &'static str {
            "notes"
        }

        fn reset(&mut self, _kind: ResetKind) {}

        fn save(&self) -> State {
            State::of(1, &())
        }

        fn load(&mut self, _state: &State) -> Result<(), StateError> {
            Ok(())
        }

        fn inspect(&self, _out: &mut Inspector) {}
    }

    impl IoDevice for Notes {
        fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
            0
        }

        fn write(&mut self, _region: u16, offset: u64, _size: u8, value: u64) {
            self.0.push((offset, value));
        }
    }

    #[test]
    fn a_guest_stays_in_while_it_writes_to_such_ports() {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("SKIPPED: there is no KVM");
            return;
        };
        const RAM: u64 = 0x4000;
        let vm = Arc::new(kvm.create_vm().unwrap());
        vm.set_tss_address(0xfffb_d000).unwrap();
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap());
        // out 21h, al; inc ax; out 22h, al; inc ax; out 21h, al; out 26h, al; out 21h, al
        let code = [0xe6, 0x21, 0x40, 0xe6, 0x22, 0x40, 0xe6, 0x21, 0xe6, 0x26, 0xe6, 0x21];
        ram.write_slice(&code, GuestAddress(0x1000)).unwrap();
        let slots = MemorySlots::new(Arc::clone(&vm), ram);
        slots.replace(0..RAM, &[Slot::ram(0..RAM)]).unwrap();
        let posted = PostedWrites::new(Arc::clone(&vm));
        if let Err(error) = posted.keep(0x21..0x26) {
            eprintln!("SKIPPED: {error}");
            return;
        }
        let (ports, notes) = (Bus::new(Space::Port), shared(Notes::default()));
        ports.map(0x20, Region::ports(0, "notes", 8, AccessRule::BYTE), Priority::Fixed, notes.clone());
        let mut fd = vm.create_vcpu(0).unwrap();
        let mut sregs = fd.get_sregs().unwrap();
        (sregs.cs.base, sregs.cs.selector) = (0, 0);
        fd.set_sregs(&sregs).unwrap();
        fd.set_regs(&kvm_regs { rip: 0x1000, rflags: 2, ..Default::default() }).unwrap();
        let page = RunPage::new(&mut fd);
        assert!(matches!(fd.run(), Ok(VcpuExit::IoOut(0x26, [2]))));
        assert_eq!(lock(&notes).0, []);
        posted.carry_out(page, &ports);
        assert_eq!(lock(&notes).0, [(1, 0), (2, 1), (1, 2)]);
        posted.carry_out(page, &ports);
        assert_eq!(lock(&notes).0.len(), 3);
        posted.hear(0x21..0x26).unwrap();
        assert!(matches!(fd.run(), Ok(VcpuExit::IoOut(0x21, [2]))));
    }
}
