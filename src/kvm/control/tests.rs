use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use devices::base::{
    AccessRule, Bus, Device, Inspector, IoDevice, Priority, Region, ResetKind, Space, State, StateError, shared,
};
use kvm_bindings::kvm_regs;
use kvm_ioctls::Kvm;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::config::{CpuConfig, KernelIrqchip, Smp};
use crate::kvm::address_space::AddressSpace;
use crate::kvm::cpuid::{GuestCpu, HostCpu, Native, Topology};
use crate::kvm::memory::{MemorySlots, Slot};
use crate::kvm::posted_writes::PostedWrites;
use crate::kvm::quirks::HostQuirks;
use crate::kvm::report::Report;
use crate::kvm::split::BoardControllers;
use crate::kvm::vcpu::{SystemEvent, VcpuEvents, VcpuHost};

type Parker = Arc<OnceLock<VcpuParker>>;

/// Has the processors parked by every write, as a reset register would.
struct Parks {
    parker: Parker,
    writes: mpsc::Sender<u64>,
}

impl Device for Parks {
    fn name(&self) -> &'static str {
        "parks"
    }

    fn reset(&mut self, _kind: ResetKind) {}

    fn save(&self) -> State {
        unreachable!("nobody saves it")
    }

    fn load(&mut self, _state: &State) -> Result<(), StateError> {
        unreachable!("nobody loads it")
    }

    fn inspect(&self, _out: &mut Inspector) {}
}

impl IoDevice for Parks {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        0
    }

    fn write(&mut self, _region: u16, offset: u64, _size: u8, _value: u64) {
        self.parker.get().unwrap().park_all();
        self.writes.send(offset).unwrap();
    }
}

/// Asks for an interrupt that KVM refuses, as its own controllers are in use: the processor stops with its access half done.
struct Refused;

impl BoardControllers for Refused {
    fn intr(&self) -> bool {
        true
    }

    fn acknowledge(&self) -> u8 {
        0x20
    }

    fn end_of_interrupt(&self, _vector: u8) {}
}

struct Failures(Parker);

impl VcpuEvents for Failures {
    fn triple_fault(&self, _vcpu: u32) {}

    fn system_event(&self, _vcpu: u32, _event: SystemEvent) {}

    fn failed(&self, _report: Report) {
        self.0.get().unwrap().park_all();
    }

    fn set_up_failed(&self, _vcpu: u32, _error: anyhow::Error) {}
}

/// Where the device is; RAM ends below it.
const DEVICE: u64 = 0x4000;

#[test]
fn devices_may_park_a_processor_that_finishes_an_access_to_park() {
    let Ok(kvm) = Kvm::new() else {
        eprintln!("SKIPPED: there is no KVM");
        return;
    };
    let (kvm, parker) = (Arc::new(kvm), Parker::default());
    let vm = Arc::new(kvm.create_vm().unwrap());
    vm.set_tss_address(0xfffb_d000).unwrap();
    vm.create_irq_chip().unwrap();
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), DEVICE as usize)]).unwrap());
    // mov [4ffeh], eax: two accesses, as it crosses a page.
    ram.write_slice(&[0x66, 0xa3, 0xfe, 0x4f], GuestAddress(0x1000)).unwrap();
    let slots = MemorySlots::new(Arc::clone(&vm), ram);
    slots.replace(0..DEVICE, &[Slot::ram(0..DEVICE)]).unwrap();
    let (sender, writes) = mpsc::channel();
    let device = shared(Parks { parker: Arc::clone(&parker), writes: sender });
    let devices = Arc::new(Bus::new(Space::Memory));
    devices.map(DEVICE, Region::memory(0, "parks", 0x2000, AccessRule::native(1, 8)), Priority::Fixed, device);

    let fd = vm.create_vcpu(0).unwrap();
    let mut sregs = fd.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    fd.set_sregs(&sregs).unwrap();
    fd.set_regs(&kvm_regs { rip: 0x1000, rflags: 2, ..Default::default() }).unwrap();
    let quirks = Arc::new(HostQuirks::detect(&kvm).unwrap());
    let mut host_cpu = HostCpu::detect(&kvm, Native::default(), KernelIrqchip::On, &quirks).unwrap();
    host_cpu.examine(&fd).unwrap();
    let cpu = GuestCpu::new(&CpuConfig::default(), &host_cpu).unwrap();
    let host = VcpuHost {
        kvm: Arc::clone(&kvm),
        topology: Topology::new(&Smp::default()).unwrap(),
        space: AddressSpace { ports: Arc::new(Bus::new(Space::Port)), devices, slots: Arc::new(slots) },
        register_port: None,
        posted: Arc::new(PostedWrites::new(Arc::clone(&vm))),
        events: Arc::new(Failures(Arc::clone(&parker))),
        quirks,
        controllers: Some(Arc::new(Refused)),
        msrs: Arc::default(),
    };
    install_kick_handler().unwrap();
    let handle = VcpuHandle::spawn(0, false, move || Some(Vcpu::new(&host, 0, fd, &cpu))).unwrap();
    let _ = parker.set(VcpuParker::new(std::slice::from_ref(&handle)));
    handle.run();
    let seen = [(); 2].map(|()| writes.recv_timeout(Duration::from_secs(30)));
    if seen != [Ok(0xffe), Ok(0x1000)] {
        // Its end would wait for ever, too.
        std::mem::forget(handle);
        panic!("the writes were {seen:x?}");
    }
    handle.wait_parked();
}
