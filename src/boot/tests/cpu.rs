//! A real CPU enters what has been loaded: a bare KVM virtual machine runs guests of a few instructions that report the
//! registers they were started with.

use std::path::Path;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, Msrs, kvm_msr_entry, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::images::{BzImage, Elf, Load, multiboot_header};
use super::*;

/// The descriptors a kernel finds, by Intel SDM volume 3, section 3.4.5: present, accessed, flat.
const CODE64: u64 = 0x00af_9b00_0000_ffff;
const CODE32: u64 = 0x00cf_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
const TSS: u64 = 0x0000_8b00_0000_0067;

/// Code that reports values one after the other, in 32-bit and in 64-bit mode alike.
struct Code(Vec<u8>);

impl Code {
    fn new() -> Self {
        Self(vec![0x66, 0xba, 0x00, 0x02]) // mov dx, 0x200
    }

    fn then(mut self, instructions: &[u8]) -> Self {
        self.0.extend_from_slice(instructions);
        self
    }

    /// Instructions that leave something in eax, which is reported.
    fn report(self, instructions: &[u8]) -> Self {
        self.then(instructions).then(&[0xef]) // out dx, eax
    }

    /// Everything that boot protocols talk about. Uses the stack.
    fn report_state(self) -> Self {
        self.then(&[0x89, 0xc1]) // mov ecx, eax
            .report(&[0x89, 0xc8]) // mov eax, ecx
            .report(&[0x89, 0xd8]) // mov eax, ebx
            .report(&[0x89, 0xf0]) // mov eax, esi
            .report(&[0x89, 0xf8]) // mov eax, edi
            .report(&[0x89, 0xe8]) // mov eax, ebp
            .report(&[0x9c, 0x58]) // pushf; pop eax
            .report(&[0x0f, 0x20, 0xc0]) // mov eax, cr0
            .report(&[0x0f, 0x20, 0xe0]) // mov eax, cr4
            .report(&[0x8c, 0xc8]) // mov eax, cs
            .report(&[0x8c, 0xd8]) // mov eax, ds
            .report(&[0x8c, 0xc0]) // mov eax, es
            .report(&[0x8c, 0xd0]) // mov eax, ss
            .report(&[0x0f, 0x00, 0xc8]) // str eax
    }

    /// Loads data segments anew, from the descriptor table.
    fn reload_data_segments(self) -> Self {
        self.then(&[0xb8, 0x18, 0, 0, 0]) // mov eax, 0x18
            .then(&[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]) // mov ds, eax; mov es, eax; mov ss, eax
    }

    fn halt(self) -> Vec<u8> {
        self.then(&[0xf4]).0
    }
}

pub struct Vm {
    _vm: VmFd,
    pub vcpu: VcpuFd,
}

/// A virtual machine about to execute `entry`, or `None` (said loudly) on a host without KVM.
pub fn vm(mem: &GuestMemoryMmap, entry: &Entry) -> Option<Vm> {
    if !Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: no /dev/kvm");
        return None;
    }
    let kvm = Kvm::new().expect("/dev/kvm exists and must work");
    let vm = kvm.create_vm().unwrap();
    for (slot, region) in mem.iter().enumerate() {
        let region = kvm_userspace_memory_region {
            slot: slot as u32,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: mem.get_host_address(region.start_addr()).unwrap() as u64,
            flags: 0,
        };
        // SAFETY: the region is a mapping of `mem`, which every caller keeps longer than the virtual machine.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
    }
    vm.set_tss_address(0xfeff_d000).unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap()).unwrap();
    vcpu.set_sregs(&entry.sregs(vcpu.get_sregs().unwrap())).unwrap();
    vcpu.set_regs(&entry.regs()).unwrap();
    Some(Vm { _vm: vm, vcpu })
}

/// Runs until the guest halts; returns what it has reported.
fn reports(machine: &Machine, entry: &Entry) -> Option<Vec<u32>> {
    let mut vm = vm(&machine.mem, entry)?;
    let mut reports = Vec::new();
    loop {
        match vm.vcpu.run().unwrap() {
            VcpuExit::IoOut(0x200, data) => reports.push(u32::from_le_bytes(data.try_into().unwrap())),
            VcpuExit::Hlt => return Some(reports),
            other => panic!("after {reports:x?}: {other:?}"),
        }
    }
}

fn gdt(machine: &Machine, entry: &Entry) -> Vec<u64> {
    (0..6).map(|i| machine.u64(entry.gdt + i * 8)).collect()
}

#[test]
fn a_64_bit_bzimage_starts_in_long_mode_with_identity_mapping() {
    const HIGH: u64 = 0xbfe0_0000;
    let mut code = vec![0; 0x200]; // the 64-bit entry point
    code.extend(
        Code::new()
            .report_state()
            .report(&[0x48, 0xb8, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0x48, 0xc1, 0xe8, 0x20]) // mov rax, 0x12345678 << 32; shr rax, 32
            .report(&[0xbb, 0x00, 0x00, 0xe0, 0xbf, 0x8b, 0x03]) // mov ebx, HIGH; mov eax, [rbx]
            .report(&[0x8b, 0x86, 0x02, 0x02, 0, 0]) // mov eax, [rsi + 0x202]
            .reload_data_segments()
            .then(&[0x6a, 0x10, 0x48, 0x8d, 0x05, 3, 0, 0, 0, 0x50, 0x48, 0xcb]) // push 0x10; lea rax, [rip + 3]; push rax; retfq
            .report(&[0x0f, 0x20, 0xd8]) // mov rax, cr3
            .halt(),
    );
    let mut machine = Machine::new(64);
    machine.mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20), (GuestAddress(HIGH), 2 << 20)]).unwrap();
    machine.mem.write_obj(0x600d_f00du32, GuestAddress(HIGH)).unwrap();

    let entry = machine.boot(BzImage { code, ..BzImage::default() }.build(), None, "").unwrap();
    let EntryState::Long64 { rip, rsi, cr3, .. } = entry.state else { panic!("{entry:?}") };
    assert_eq!(rip, 0x100_0200);
    assert_eq!(gdt(&machine, &entry)[2..], [CODE64, DATA, TSS, 0]);
    let Some(reports) = reports(&machine, &entry) else { return };
    let [_eax, ebx, esi, edi, ebp, flags, cr0, cr4, cs, ds, es, ss, tr, long, high, header, cr3_after] = reports[..]
    else {
        panic!("{reports:x?}");
    };
    assert_eq!([ebx, esi, edi, ebp], [0, rsi as u32, 0, 0]);
    assert_eq!(flags, 2);
    assert_eq!((cr0, cr4), (0x8000_0011, 0x20));
    assert_eq!([cs, ds, es, ss, tr], [0x10, 0x18, 0x18, 0x18, 0x20]);
    assert_eq!(long, 0x1234_5678);
    assert_eq!(high, 0x600d_f00d);
    assert_eq!(header.to_le_bytes(), *b"HdrS");
    assert_eq!(u64::from(cr3_after), cr3);
}

/// Checks what all 32-bit protocols have in common; returns eax, ebx and esi.
fn check_protected_mode(machine: &Machine, entry: &Entry) -> Option<[u32; 3]> {
    assert_eq!(gdt(machine, entry)[2..5], [CODE32, DATA, TSS]);
    let reports = reports(machine, entry)?;
    let [eax, ebx, esi, edi, ebp, flags, cr0, cr4, cs, ds, es, ss, tr, after_reload] = reports[..] else {
        panic!("{reports:x?}");
    };
    assert_eq!([edi, ebp], [0, 0]);
    assert_eq!(flags, 2);
    assert_eq!((cr0, cr4), (0x11, 0));
    assert_eq!([cs, ds, es, ss, tr], [0x10, 0x18, 0x18, 0x18, 0x20]);
    assert_eq!(after_reload, 0x600d);
    Some([eax, ebx, esi])
}

/// Code for [`check_protected_mode`], linked to run at `addr`.
fn protected_mode_code(addr: u32) -> Vec<u8> {
    let code = Code::new().report_state().reload_data_segments();
    let next = addr + code.0.len() as u32 + 7;
    code.then(&[&[0xea][..], &next.to_le_bytes(), &[0x10, 0]].concat()) // ljmp 0x10, next
        .report(&[0xb8, 0x0d, 0x60, 0, 0]) // mov eax, 0x600d
        .halt()
}

#[test]
fn an_old_bzimage_starts_in_protected_mode() {
    let mut code = protected_mode_code(0x10_0000);
    code.resize(0x400, 0);
    let machine = Machine::new(64);
    let entry = machine.boot(BzImage { code, ..BzImage::linux_2_4() }.build(), None, "").unwrap();
    let Some([_, ebx, esi]) = check_protected_mode(&machine, &entry) else { return };
    assert_eq!(ebx, 0);
    assert_eq!(machine.u32(u64::from(esi) + 0x202).to_le_bytes(), *b"HdrS");
}

#[test]
fn pvh_starts_in_protected_mode_with_start_info() {
    let kernel = Elf::new64(0, vec![Load::flat(0x20_0000, protected_mode_code(0x20_0000))]).with_pvh_note(0x20_0000);
    let machine = Machine::new(64);
    let entry = machine.boot(kernel.build(), None, "").unwrap();
    let Some([_, ebx, _]) = check_protected_mode(&machine, &entry) else { return };
    assert_eq!(machine.u32(ebx.into()), 0x336e_c578);
}

#[test]
fn multiboot_starts_in_protected_mode_with_its_magic() {
    let mut image = multiboot_header(0, None);
    image.resize(0x40, 0);
    image.extend(protected_mode_code(0x10_0040));
    let machine = Machine::new(64);
    let entry = machine.boot(Elf::new32(0x10_0040, vec![Load::flat(0x10_0000, image)]).build(), None, "").unwrap();
    let Some([eax, ebx, _]) = check_protected_mode(&machine, &entry) else { return };
    assert_eq!(eax, 0x2bad_b002);
    assert_eq!(machine.u32(ebx.into()), 0b10_0100_1111);
}

#[test]
fn a_cpu_takes_the_memory_type_registers() {
    let machine = Machine::new(64);
    let entry = machine.boot(BzImage::default().build(), None, "").unwrap();
    let Some(vm) = vm(&machine.mem, &entry) else { return };
    let cpuid = vm.vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).unwrap();
    let address_sizes = cpuid.as_slice().iter().find(|e| e.function == 0x8000_0008).unwrap();
    let phys_bits = address_sizes.eax as u8;
    for low_ram_end in [64 << 20, 2100 << 20, 3300 << 20, (1 << 32) - 4096] {
        let entries: Vec<_> = crate::boot::mtrr::mtrrs(low_ram_end, phys_bits)
            .into_iter()
            .map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() })
            .collect();
        assert_eq!(vm.vcpu.set_msrs(&Msrs::from_entries(&entries).unwrap()).unwrap(), entries.len());
    }
}
