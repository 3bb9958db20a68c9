//! The XSAVE family against the CPU: the same state gives the same image, the same image the same state.

use super::differential::visible;
use super::random::Random;
use super::real_cpu::RealCpu;
use super::*;

const RDI: usize = 7;
const IMAGE: u64 = 0x4000;
const IMAGE_LEN: usize = 0x1000;

#[repr(C, align(64))]
struct Buffer([u8; IMAGE_LEN]);

struct Instruction {
    name: &'static str,
    code: &'static [u8],
}

const SAVES: [Instruction; 8] = [
    Instruction { name: "xsave", code: &[0x0f, 0xae, 0x27] },
    Instruction { name: "xsave64", code: &[0x48, 0x0f, 0xae, 0x27] },
    Instruction { name: "xsaveopt", code: &[0x0f, 0xae, 0x37] },
    Instruction { name: "xsaveopt64", code: &[0x48, 0x0f, 0xae, 0x37] },
    Instruction { name: "xsavec", code: &[0x0f, 0xc7, 0x27] },
    Instruction { name: "xsavec64", code: &[0x48, 0x0f, 0xc7, 0x27] },
    Instruction { name: "fxsave", code: &[0x0f, 0xae, 0x07] },
    Instruction { name: "fxsave64", code: &[0x48, 0x0f, 0xae, 0x07] },
];

const RESTORES: [Instruction; 4] = [
    Instruction { name: "xrstor", code: &[0x0f, 0xae, 0x2f] },
    Instruction { name: "xrstor64", code: &[0x48, 0x0f, 0xae, 0x2f] },
    Instruction { name: "fxrstor", code: &[0x0f, 0xae, 0x0f] },
    Instruction { name: "fxrstor64", code: &[0x48, 0x0f, 0xae, 0x0f] },
];

/// A random state in which random components are in their initial state.
fn random_state(random: &mut Random) -> real_cpu::State {
    let mut state = random.state();
    let dropped = random.next() & 0xe7;
    let initial = XsaveArea::default();
    if dropped & 1 != 0 {
        state.area.bytes[..24].copy_from_slice(&initial.bytes[..24]);
        state.area.bytes[32..160].fill(0);
    }
    if dropped & 2 != 0 {
        state.area.bytes[160..416].fill(0);
    }
    state.area.set_in_use(state.area.in_use() & !dropped);
    if dropped & 2 != 0 && random.one_in(2) {
        state.area.set_mxcsr(0x1f80);
        state.area.set_in_use(state.area.in_use() & !2);
    }
    // Without PKRU, which a random state does not hold.
    state.gprs[0] = (random.next() | (0xe7 * random.below(2))) & !(1 << 9);
    state.gprs[2] = random.next();
    state
}

/// MXCSR_MASK is the CPU's; KVM fills it in for a real vCPU.
fn with_mxcsr_mask(mut area: XsaveArea) -> XsaveArea {
    let mut buffer = Buffer([0; IMAGE_LEN]);
    // SAFETY: 512 bytes, aligned.
    unsafe { std::arch::x86_64::_fxsave64(buffer.0.as_mut_ptr()) };
    area.bytes[28..32].copy_from_slice(&buffer.0[28..32]);
    area
}

/// `area` with those of `components` in use that the CPU says are in `in_use`.
///
/// The CPU may count a component as in use though it is in its initial state (Intel's SDM volume 1, section 13.6), and
/// does so now and then, after the host's kernel has put the state aside and back. It never does the opposite.
fn in_use_as_the_cpu_had_it(mut area: XsaveArea, components: u64, in_use: u64) -> XsaveArea {
    let (expected, seen) = (area.in_use() & components, in_use & components);
    assert_eq!(expected & !seen, 0, "in use {expected:#x}, for the CPU {seen:#x}");
    for number in (host::FIRST_EXTENDED..63).filter(|number| seen & !expected & 1 << number != 0) {
        let component = host::component(number);
        area.bytes[component.offset..component.offset + component.size].fill(0);
    }
    area.set_in_use(area.in_use() | seen);
    area
}

#[test]
fn images_are_those_of_the_cpu() {
    let mut real = RealCpu::new();
    let mut random = Random(1);
    for round in 0..200 {
        let instruction = &SAVES[round % SAVES.len()];
        let mut state = random_state(&mut random);
        state.area = with_mxcsr_mask(state.area);
        let mut before = [0; IMAGE_LEN];
        random.fill(&mut before);

        let mut buffer = Buffer(before);
        state.gprs[RDI] = (&raw mut buffer).addr() as u64;
        real.run(instruction.code, &state);
        if !instruction.name.starts_with("fxsave") {
            let requested = (state.gprs[0] & 0xffff_ffff | state.gprs[2] << 32) & host::xcr0();
            let in_use = u64::from_le_bytes(buffer.0[512..520].try_into().unwrap());
            state.area = in_use_as_the_cpu_had_it(state.area, requested, in_use);
        }

        let memory = FakeMemory::new(0x8000);
        memory.load(IMAGE as usize, &before);
        let vcpu = FakeVcpu::default();
        vcpu.area.borrow_mut().clone_from(&state.area);
        let mut cpu = ring0(64);
        (cpu.regs.rax, cpu.regs.rdx, cpu.regs.rdi) = (state.gprs[0], state.gprs[2], IMAGE);
        let (_, outcome) = step(cpu, &vcpu, &memory, instruction.code);
        assert_eq!(outcome, Outcome::Retired);
        let ours = memory.bytes(IMAGE as usize, IMAGE_LEN);
        if let Some(at) = (0..IMAGE_LEN).find(|&n| ours[n] != buffer.0[n]) {
            panic!(
                "{:x?}{} with mask {:#x}, in use {:#x}: byte {at} is {:#x}, the CPU's {:#x}, before {:#x}",
                &state.area.bytes[..32],
                instruction.name,
                state.gprs[0] & 0xff,
                state.area.in_use(),
                ours[at],
                buffer.0[at],
                before[at],
            );
        }
    }
}

#[test]
fn restored_states_are_those_of_the_cpu() {
    let mut real = RealCpu::new();
    let mut random = Random(2);
    for round in 0..200 {
        let instruction = &RESTORES[round % RESTORES.len()];
        // An image made by the CPU: standard for odd rounds, compacted for even ones.
        let save = &SAVES[if round % 8 < 4 { 1 } else { 5 }];
        let mut source = random_state(&mut random);
        let mut buffer = Buffer([0; IMAGE_LEN]);
        source.gprs[RDI] = (&raw mut buffer).addr() as u64;
        real.run(save.code, &source);

        let mut state = random_state(&mut random);
        state.gprs[RDI] = source.gprs[RDI];
        let (native, _) = real.run(instruction.code, &state);

        let memory = FakeMemory::new(0x8000);
        memory.load(IMAGE as usize, &buffer.0);
        let vcpu = FakeVcpu::default();
        vcpu.area.borrow_mut().clone_from(&state.area);
        let mut cpu = ring0(64);
        (cpu.regs.rax, cpu.regs.rdx, cpu.regs.rdi) = (state.gprs[0], state.gprs[2], IMAGE);
        let (_, outcome) = step(cpu, &vcpu, &memory, instruction.code);
        assert_eq!(outcome, Outcome::Retired);
        // The CPU puts reserved bits right as it loads a state; let it do so with ours.
        let ours = real_cpu::State { area: vcpu.area.borrow().clone(), ..state.clone() };
        let (ours, _) = real.run(&[0x90], &ours);
        assert!(
            visible(&ours.area) == visible(&native.area),
            "{} of an {} image, mask {:#x}",
            instruction.name,
            save.name,
            state.gprs[0] & 0xff
        );
    }
}

#[test]
fn xgetbv_tells_what_is_in_use() {
    let mut real = RealCpu::new();
    let mut random = Random(3);
    for _ in 0..50 {
        let mut state = random_state(&mut random);
        for selector in [0, 1] {
            state.gprs[1] = selector;
            let (native, _) = real.run(&[0x0f, 0x01, 0xd0], &state);
            if selector == 1 {
                state.area = in_use_as_the_cpu_had_it(state.area, 0xe7, native.gprs[0]);
            }
            let vcpu = FakeVcpu::default();
            vcpu.area.borrow_mut().clone_from(&state.area);
            vcpu.xcr0.set(host::xcr0());
            let mut cpu = ring0(64);
            cpu.regs.rcx = selector;
            let (cpu, _) = step(cpu, &vcpu, &FakeMemory::new(0x8000), &[0x0f, 0x01, 0xd0]);
            assert_eq!((cpu.regs.rax, cpu.regs.rdx), (native.gprs[0], native.gprs[2]), "XGETBV({selector})");
        }
    }
}

#[test]
fn malformed_images_are_refused() {
    let fault = |edit: fn(&mut [u8]), code: &[u8]| {
        let memory = FakeMemory::new(0x8000);
        let mut image = [0; 1024];
        image[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        edit(&mut image);
        memory.load(IMAGE as usize, &image);
        let mut cpu = ring0(64);
        (cpu.regs.rax, cpu.regs.rdi) = (7, IMAGE);
        step(cpu, &FakeVcpu::default(), &memory, code).1
    };
    let xrstor = &[0x0f, 0xae, 0x2f];
    assert_eq!(fault(|_| {}, xrstor), Outcome::Retired);
    assert_eq!(fault(|image| image[519] = 0x80, xrstor), Outcome::Raised(13), "XSTATE_BV beyond XCR0");
    assert_eq!(fault(|image| image[520] = 1, xrstor), Outcome::Raised(13), "XCOMP_BV in the standard format");
    assert_eq!(fault(|image| image[528] = 1, xrstor), Outcome::Raised(13), "reserved header byte");
    assert_eq!(fault(|image| image[527] = 0x80, xrstor), Outcome::Retired, "an empty compacted image");
    assert_eq!(
        fault(
            |image| {
                image[512] = 2;
                image[527] = 0x80;
            },
            xrstor
        ),
        Outcome::Raised(13),
        "XSTATE_BV beyond XCOMP_BV"
    );
    assert_eq!(fault(|image| image[26] = 1, xrstor), Outcome::Raised(13), "reserved MXCSR bit");
    assert_eq!(fault(|_| {}, &[0x0f, 0xc7, 0x1f]), Outcome::Raised(13), "XRSTORS of a standard image");
    assert_eq!(fault(|_| {}, &[0x0f, 0xae, 0x6f, 0x10]), Outcome::Raised(13), "misaligned");
}
